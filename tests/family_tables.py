"""What every stored matrix of the tiny models is: module path, then the roles of its rows.

Numbers are written #; experts have one such group of rows each. `ssm_in:x` is role and part.
"""

from __future__ import annotations

from typing import Final

TABLES: Final[dict[str, str]] = {
    "bert": """
        bert.embeddings.position_embeddings  position_embedding
        bert.embeddings.token_type_embeddings  type_embedding
        bert.embeddings.word_embeddings  embedding
        bert.encoder.layer.#.attention.output.dense  o
        bert.encoder.layer.#.attention.self.key  k
        bert.encoder.layer.#.attention.self.query  q
        bert.encoder.layer.#.attention.self.value  v
        bert.encoder.layer.#.intermediate.dense  mlp_in
        bert.encoder.layer.#.output.dense  mlp_out
        cls.predictions.transform.dense  head_dense
    """,
    "roberta": """
        lm_head.dense  head_dense
        roberta.embeddings.position_embeddings  position_embedding
        roberta.embeddings.token_type_embeddings  type_embedding
        roberta.embeddings.word_embeddings  embedding
        roberta.encoder.layer.#.attention.output.dense  o
        roberta.encoder.layer.#.attention.self.key  k
        roberta.encoder.layer.#.attention.self.query  q
        roberta.encoder.layer.#.attention.self.value  v
        roberta.encoder.layer.#.intermediate.dense  mlp_in
        roberta.encoder.layer.#.output.dense  mlp_out
    """,
    "albert": """
        albert.embeddings.position_embeddings  position_embedding
        albert.embeddings.token_type_embeddings  type_embedding
        albert.embeddings.word_embeddings  embedding
        albert.encoder.albert_layer_groups.#.albert_layers.#.attention.dense  o
        albert.encoder.albert_layer_groups.#.albert_layers.#.attention.key  k
        albert.encoder.albert_layer_groups.#.albert_layers.#.attention.query  q
        albert.encoder.albert_layer_groups.#.albert_layers.#.attention.value  v
        albert.encoder.albert_layer_groups.#.albert_layers.#.ffn  mlp_in
        albert.encoder.albert_layer_groups.#.albert_layers.#.ffn_output  mlp_out
        albert.encoder.embedding_hidden_mapping_in  projection
        predictions.dense  head_dense
    """,
    "modernbert": """
        head.dense  head_dense
        model.embeddings.tok_embeddings  embedding
        model.layers.#.attn.Wo  o
        model.layers.#.attn.Wqkv  q k v
        model.layers.#.mlp.Wi  gate up
        model.layers.#.mlp.Wo  down
    """,
    "gpt2": """
        transformer.h.#.attn.c_attn  q k v
        transformer.h.#.attn.c_proj  o
        transformer.h.#.mlp.c_fc  mlp_in
        transformer.h.#.mlp.c_proj  mlp_out
        transformer.wpe  position_embedding
        transformer.wte  embedding
    """,
    "gpt_bigcode": """
        transformer.h.#.attn.c_attn  q k v
        transformer.h.#.attn.c_proj  o
        transformer.h.#.mlp.c_fc  mlp_in
        transformer.h.#.mlp.c_proj  mlp_out
        transformer.wpe  position_embedding
        transformer.wte  embedding
    """,
    "codegen": """
        lm_head  lm_head
        transformer.h.#.attn.out_proj  o
        transformer.h.#.attn.qkv_proj  q v k
        transformer.h.#.mlp.fc_in  mlp_in
        transformer.h.#.mlp.fc_out  mlp_out
        transformer.wte  embedding
    """,
    "gpt_neox": """
        embed_out  lm_head
        gpt_neox.embed_in  embedding
        gpt_neox.layers.#.attention.dense  o
        gpt_neox.layers.#.attention.query_key_value  q k v
        gpt_neox.layers.#.mlp.dense_4h_to_h  mlp_out
        gpt_neox.layers.#.mlp.dense_h_to_4h  mlp_in
    """,
    "bloom": """
        transformer.h.#.mlp.dense_4h_to_h  mlp_out
        transformer.h.#.mlp.dense_h_to_4h  mlp_in
        transformer.h.#.self_attention.dense  o
        transformer.h.#.self_attention.query_key_value  q k v
        transformer.word_embeddings  embedding
    """,
    "llama": """
        lm_head  lm_head
        model.embed_tokens  embedding
        model.layers.#.mlp.down_proj  down
        model.layers.#.mlp.gate_proj  gate
        model.layers.#.mlp.up_proj  up
        model.layers.#.self_attn.k_proj  k
        model.layers.#.self_attn.o_proj  o
        model.layers.#.self_attn.q_proj  q
        model.layers.#.self_attn.v_proj  v
    """,
    "mistral": """
        lm_head  lm_head
        model.embed_tokens  embedding
        model.layers.#.mlp.down_proj  down
        model.layers.#.mlp.gate_proj  gate
        model.layers.#.mlp.up_proj  up
        model.layers.#.self_attn.k_proj  k
        model.layers.#.self_attn.o_proj  o
        model.layers.#.self_attn.q_proj  q
        model.layers.#.self_attn.v_proj  v
    """,
    "mixtral": """
        lm_head  lm_head
        model.embed_tokens  embedding
        model.layers.#.block_sparse_moe.experts.#.w1  gate
        model.layers.#.block_sparse_moe.experts.#.w2  down
        model.layers.#.block_sparse_moe.experts.#.w3  up
        model.layers.#.block_sparse_moe.gate  router
        model.layers.#.self_attn.k_proj  k
        model.layers.#.self_attn.o_proj  o
        model.layers.#.self_attn.q_proj  q
        model.layers.#.self_attn.v_proj  v
    """,
    "qwen2": """
        lm_head  lm_head
        model.embed_tokens  embedding
        model.layers.#.mlp.down_proj  down
        model.layers.#.mlp.gate_proj  gate
        model.layers.#.mlp.up_proj  up
        model.layers.#.self_attn.k_proj  k
        model.layers.#.self_attn.o_proj  o
        model.layers.#.self_attn.q_proj  q
        model.layers.#.self_attn.v_proj  v
    """,
    "qwen3": """
        lm_head  lm_head
        model.embed_tokens  embedding
        model.layers.#.mlp.down_proj  down
        model.layers.#.mlp.gate_proj  gate
        model.layers.#.mlp.up_proj  up
        model.layers.#.self_attn.k_proj  k
        model.layers.#.self_attn.o_proj  o
        model.layers.#.self_attn.q_proj  q
        model.layers.#.self_attn.v_proj  v
    """,
    "qwen2_moe": """
        lm_head  lm_head
        model.embed_tokens  embedding
        model.layers.#.mlp.experts.#.down_proj  down
        model.layers.#.mlp.experts.#.gate_proj  gate
        model.layers.#.mlp.experts.#.up_proj  up
        model.layers.#.mlp.gate  router
        model.layers.#.mlp.shared_expert.down_proj  shared_down
        model.layers.#.mlp.shared_expert.gate_proj  shared_gate
        model.layers.#.mlp.shared_expert.up_proj  shared_up
        model.layers.#.self_attn.k_proj  k
        model.layers.#.self_attn.o_proj  o
        model.layers.#.self_attn.q_proj  q
        model.layers.#.self_attn.v_proj  v
    """,
    "qwen3_moe": """
        lm_head  lm_head
        model.embed_tokens  embedding
        model.layers.#.mlp.experts.#.down_proj  down
        model.layers.#.mlp.experts.#.gate_proj  gate
        model.layers.#.mlp.experts.#.up_proj  up
        model.layers.#.mlp.gate  router
        model.layers.#.self_attn.k_proj  k
        model.layers.#.self_attn.o_proj  o
        model.layers.#.self_attn.q_proj  q
        model.layers.#.self_attn.v_proj  v
    """,
    "gemma": """
        model.embed_tokens  embedding
        model.layers.#.mlp.down_proj  down
        model.layers.#.mlp.gate_proj  gate
        model.layers.#.mlp.up_proj  up
        model.layers.#.self_attn.k_proj  k
        model.layers.#.self_attn.o_proj  o
        model.layers.#.self_attn.q_proj  q
        model.layers.#.self_attn.v_proj  v
    """,
    "gemma2": """
        model.embed_tokens  embedding
        model.layers.#.mlp.down_proj  down
        model.layers.#.mlp.gate_proj  gate
        model.layers.#.mlp.up_proj  up
        model.layers.#.self_attn.k_proj  k
        model.layers.#.self_attn.o_proj  o
        model.layers.#.self_attn.q_proj  q
        model.layers.#.self_attn.v_proj  v
    """,
    "phi3": """
        lm_head  lm_head
        model.embed_tokens  embedding
        model.layers.#.mlp.down_proj  down
        model.layers.#.mlp.gate_up_proj  gate up
        model.layers.#.self_attn.o_proj  o
        model.layers.#.self_attn.qkv_proj  q k v
    """,
    "falcon_7b": """
        transformer.h.#.mlp.dense_4h_to_h  mlp_out
        transformer.h.#.mlp.dense_h_to_4h  mlp_in
        transformer.h.#.self_attention.dense  o
        transformer.h.#.self_attention.query_key_value  q k v
        transformer.word_embeddings  embedding
    """,
    "falcon_40b": """
        transformer.h.#.mlp.dense_4h_to_h  mlp_out
        transformer.h.#.mlp.dense_h_to_4h  mlp_in
        transformer.h.#.self_attention.dense  o
        transformer.h.#.self_attention.query_key_value  q k v
        transformer.word_embeddings  embedding
    """,
    "falcon_rw": """
        transformer.h.#.mlp.dense_4h_to_h  mlp_out
        transformer.h.#.mlp.dense_h_to_4h  mlp_in
        transformer.h.#.self_attention.dense  o
        transformer.h.#.self_attention.query_key_value  q k v
        transformer.word_embeddings  embedding
    """,
    "gpt_oss": """
        lm_head  lm_head
        model.embed_tokens  embedding
        model.layers.#.mlp.experts.down_proj  down
        model.layers.#.mlp.experts.gate_up_proj  gate up
        model.layers.#.mlp.router  router
        model.layers.#.self_attn.k_proj  k
        model.layers.#.self_attn.o_proj  o
        model.layers.#.self_attn.q_proj  q
        model.layers.#.self_attn.v_proj  v
    """,
    "llama4": """
        lm_head  lm_head
        model.embed_tokens  embedding
        model.layers.#.feed_forward.experts.down_proj  down
        model.layers.#.feed_forward.experts.gate_up_proj  gate up
        model.layers.#.feed_forward.router  router
        model.layers.#.feed_forward.shared_expert.down_proj  shared_down
        model.layers.#.feed_forward.shared_expert.gate_proj  shared_gate
        model.layers.#.feed_forward.shared_expert.up_proj  shared_up
        model.layers.#.self_attn.k_proj  k
        model.layers.#.self_attn.o_proj  o
        model.layers.#.self_attn.q_proj  q
        model.layers.#.self_attn.v_proj  v
    """,
    "granitemoe": """
        lm_head  lm_head
        model.embed_tokens  embedding
        model.layers.#.block_sparse_moe.input_linear  gate up
        model.layers.#.block_sparse_moe.output_linear  down
        model.layers.#.block_sparse_moe.router.layer  router
        model.layers.#.self_attn.k_proj  k
        model.layers.#.self_attn.o_proj  o
        model.layers.#.self_attn.q_proj  q
        model.layers.#.self_attn.v_proj  v
    """,
    "deepseek_v3": """
        lm_head  lm_head
        model.embed_tokens  embedding
        model.layers.#.mlp.down_proj  down
        model.layers.#.mlp.gate_proj  gate
        model.layers.#.mlp.up_proj  up
        model.layers.#.self_attn.kv_a_proj_with_mqa  kv_a:latent kv_a:k_rope
        model.layers.#.self_attn.kv_b_proj  kv_b:k kv_b:v
        model.layers.#.self_attn.o_proj  o
        model.layers.#.self_attn.q_a_proj  q_a
        model.layers.#.self_attn.q_b_proj  q_b
        model.layers.#.mlp.experts.#.down_proj  down
        model.layers.#.mlp.experts.#.gate_proj  gate
        model.layers.#.mlp.experts.#.up_proj  up
        model.layers.#.mlp.gate  router
        model.layers.#.mlp.shared_experts.down_proj  shared_down
        model.layers.#.mlp.shared_experts.gate_proj  shared_gate
        model.layers.#.mlp.shared_experts.up_proj  shared_up
    """,
    "t5": """
        decoder.block.#.layer.#.SelfAttention.k  k
        decoder.block.#.layer.#.SelfAttention.o  o
        decoder.block.#.layer.#.SelfAttention.q  q
        decoder.block.#.layer.#.SelfAttention.relative_attention_bias  relative_position
        decoder.block.#.layer.#.SelfAttention.v  v
        decoder.block.#.layer.#.EncDecAttention.k  cross_k
        decoder.block.#.layer.#.EncDecAttention.o  cross_o
        decoder.block.#.layer.#.EncDecAttention.q  cross_q
        decoder.block.#.layer.#.EncDecAttention.v  cross_v
        decoder.block.#.layer.#.DenseReluDense.wi  mlp_in
        decoder.block.#.layer.#.DenseReluDense.wo  mlp_out
        encoder.block.#.layer.#.SelfAttention.k  k
        encoder.block.#.layer.#.SelfAttention.o  o
        encoder.block.#.layer.#.SelfAttention.q  q
        encoder.block.#.layer.#.SelfAttention.relative_attention_bias  relative_position
        encoder.block.#.layer.#.SelfAttention.v  v
        encoder.block.#.layer.#.DenseReluDense.wi  mlp_in
        encoder.block.#.layer.#.DenseReluDense.wo  mlp_out
        shared  embedding
    """,
    "t5_gated": """
        decoder.block.#.layer.#.SelfAttention.k  k
        decoder.block.#.layer.#.SelfAttention.o  o
        decoder.block.#.layer.#.SelfAttention.q  q
        decoder.block.#.layer.#.SelfAttention.relative_attention_bias  relative_position
        decoder.block.#.layer.#.SelfAttention.v  v
        decoder.block.#.layer.#.EncDecAttention.k  cross_k
        decoder.block.#.layer.#.EncDecAttention.o  cross_o
        decoder.block.#.layer.#.EncDecAttention.q  cross_q
        decoder.block.#.layer.#.EncDecAttention.v  cross_v
        decoder.block.#.layer.#.DenseReluDense.wi_0  gate
        decoder.block.#.layer.#.DenseReluDense.wi_1  up
        decoder.block.#.layer.#.DenseReluDense.wo  down
        encoder.block.#.layer.#.SelfAttention.k  k
        encoder.block.#.layer.#.SelfAttention.o  o
        encoder.block.#.layer.#.SelfAttention.q  q
        encoder.block.#.layer.#.SelfAttention.relative_attention_bias  relative_position
        encoder.block.#.layer.#.SelfAttention.v  v
        encoder.block.#.layer.#.DenseReluDense.wi_0  gate
        encoder.block.#.layer.#.DenseReluDense.wi_1  up
        encoder.block.#.layer.#.DenseReluDense.wo  down
        shared  embedding
    """,
    "bart": """
        model.decoder.embed_positions  position_embedding
        model.decoder.layers.#.encoder_attn.k_proj  cross_k
        model.decoder.layers.#.encoder_attn.out_proj  cross_o
        model.decoder.layers.#.encoder_attn.q_proj  cross_q
        model.decoder.layers.#.encoder_attn.v_proj  cross_v
        model.decoder.layers.#.fc1  mlp_in
        model.decoder.layers.#.fc2  mlp_out
        model.decoder.layers.#.self_attn.k_proj  k
        model.decoder.layers.#.self_attn.out_proj  o
        model.decoder.layers.#.self_attn.q_proj  q
        model.decoder.layers.#.self_attn.v_proj  v
        model.encoder.embed_positions  position_embedding
        model.encoder.layers.#.fc1  mlp_in
        model.encoder.layers.#.fc2  mlp_out
        model.encoder.layers.#.self_attn.k_proj  k
        model.encoder.layers.#.self_attn.out_proj  o
        model.encoder.layers.#.self_attn.q_proj  q
        model.encoder.layers.#.self_attn.v_proj  v
        model.shared  embedding
    """,
    "whisper": """
        model.decoder.embed_positions  position_embedding
        model.decoder.embed_tokens  embedding
        model.decoder.layers.#.encoder_attn.k_proj  cross_k
        model.decoder.layers.#.encoder_attn.out_proj  cross_o
        model.decoder.layers.#.encoder_attn.q_proj  cross_q
        model.decoder.layers.#.encoder_attn.v_proj  cross_v
        model.decoder.layers.#.fc1  mlp_in
        model.decoder.layers.#.fc2  mlp_out
        model.decoder.layers.#.self_attn.k_proj  k
        model.decoder.layers.#.self_attn.out_proj  o
        model.decoder.layers.#.self_attn.q_proj  q
        model.decoder.layers.#.self_attn.v_proj  v
        model.encoder.conv1  conv
        model.encoder.conv2  conv
        model.encoder.embed_positions  position_embedding
        model.encoder.layers.#.fc1  mlp_in
        model.encoder.layers.#.fc2  mlp_out
        model.encoder.layers.#.self_attn.k_proj  k
        model.encoder.layers.#.self_attn.out_proj  o
        model.encoder.layers.#.self_attn.q_proj  q
        model.encoder.layers.#.self_attn.v_proj  v
    """,
    "vit": """
        classifier  classifier
        vit.embeddings.patch_embeddings.projection  patch_embedding
        vit.embeddings.position_embeddings  position_embedding
        vit.encoder.layer.#.attention.attention.key  k
        vit.encoder.layer.#.attention.attention.query  q
        vit.encoder.layer.#.attention.attention.value  v
        vit.encoder.layer.#.attention.output.dense  o
        vit.encoder.layer.#.intermediate.dense  mlp_in
        vit.encoder.layer.#.output.dense  mlp_out
    """,
    "clip": """
        text_model.embeddings.position_embedding  position_embedding
        text_model.embeddings.token_embedding  embedding
        text_model.encoder.layers.#.mlp.fc1  mlp_in
        text_model.encoder.layers.#.mlp.fc2  mlp_out
        text_model.encoder.layers.#.self_attn.k_proj  k
        text_model.encoder.layers.#.self_attn.out_proj  o
        text_model.encoder.layers.#.self_attn.q_proj  q
        text_model.encoder.layers.#.self_attn.v_proj  v
        text_projection  projection
        vision_model.embeddings.patch_embedding  patch_embedding
        vision_model.embeddings.position_embedding  position_embedding
        vision_model.encoder.layers.#.mlp.fc1  mlp_in
        vision_model.encoder.layers.#.mlp.fc2  mlp_out
        vision_model.encoder.layers.#.self_attn.k_proj  k
        vision_model.encoder.layers.#.self_attn.out_proj  o
        vision_model.encoder.layers.#.self_attn.q_proj  q
        vision_model.encoder.layers.#.self_attn.v_proj  v
        visual_projection  projection
    """,
    "resnet": """
        classifier.#  classifier
        resnet.embedder.embedder.convolution  conv
        resnet.encoder.stages.#.layers.#.layer.#.convolution  conv
        resnet.encoder.stages.#.layers.#.shortcut.convolution  conv
    """,
    "convnext": """
        classifier  classifier
        convnext.embeddings.patch_embeddings  patch_embedding
        convnext.encoder.stages.#.layers.#.dwconv  conv
        convnext.encoder.stages.#.layers.#.pwconv1  mlp_in
        convnext.encoder.stages.#.layers.#.pwconv2  mlp_out
        convnext.encoder.stages.#.downsampling_layer.#  conv
    """,
    "wav2vec2": """
        lm_head  lm_head
        wav2vec2.encoder.layers.#.attention.k_proj  k
        wav2vec2.encoder.layers.#.attention.out_proj  o
        wav2vec2.encoder.layers.#.attention.q_proj  q
        wav2vec2.encoder.layers.#.attention.v_proj  v
        wav2vec2.encoder.layers.#.feed_forward.intermediate_dense  mlp_in
        wav2vec2.encoder.layers.#.feed_forward.output_dense  mlp_out
        wav2vec2.encoder.pos_conv_embed.conv  conv
        wav2vec2.feature_extractor.conv_layers.#.conv  conv
        wav2vec2.feature_projection.projection  projection
    """,
    "mamba": """
        backbone.embeddings  embedding
        backbone.layers.#.mixer.conv1d  ssm_conv
        backbone.layers.#.mixer.dt_proj  ssm_dt
        backbone.layers.#.mixer.in_proj  ssm_in:x ssm_in:z
        backbone.layers.#.mixer.out_proj  ssm_out
        backbone.layers.#.mixer.x_proj  ssm_x:dt ssm_x:B ssm_x:C
    """,
    "mamba2": """
        backbone.embeddings  embedding
        backbone.layers.#.mixer.conv1d  ssm_conv
        backbone.layers.#.mixer.in_proj  ssm_in:z ssm_in:x ssm_in:B ssm_in:C ssm_in:dt
        backbone.layers.#.mixer.out_proj  ssm_out
        lm_head  lm_head
    """,
    "jamba": """
        lm_head  lm_head
        model.embed_tokens  embedding
        model.layers.#.feed_forward.down_proj  down
        model.layers.#.feed_forward.gate_proj  gate
        model.layers.#.feed_forward.up_proj  up
        model.layers.#.mamba.conv1d  ssm_conv
        model.layers.#.mamba.dt_proj  ssm_dt
        model.layers.#.mamba.in_proj  ssm_in:x ssm_in:z
        model.layers.#.mamba.out_proj  ssm_out
        model.layers.#.mamba.x_proj  ssm_x:dt ssm_x:B ssm_x:C
        model.layers.#.feed_forward.experts.#.down_proj  down
        model.layers.#.feed_forward.experts.#.gate_proj  gate
        model.layers.#.feed_forward.experts.#.up_proj  up
        model.layers.#.feed_forward.router  router
        model.layers.#.self_attn.k_proj  k
        model.layers.#.self_attn.o_proj  o
        model.layers.#.self_attn.q_proj  q
        model.layers.#.self_attn.v_proj  v
    """,
    "rwkv": """
        head  lm_head
        rwkv.blocks.#.attention.key  k
        rwkv.blocks.#.attention.output  o
        rwkv.blocks.#.attention.receptance  r
        rwkv.blocks.#.attention.value  v
        rwkv.blocks.#.feed_forward.key  mlp_in
        rwkv.blocks.#.feed_forward.receptance  mlp_gate
        rwkv.blocks.#.feed_forward.value  mlp_out
        rwkv.embeddings  embedding
    """,
}
