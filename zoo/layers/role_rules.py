"""The name tables: which end of a module path means which role.

A rule is (pattern for the end of the path, role); the first that matches decides. Case is ignored
and numbers are written `#`. Names come from `transformers`, the original releases on the Hub, timm,
diffusers, Megatron and llama.cpp; the tests hold the names of every family.
"""

from __future__ import annotations

from typing import Final

_ATT: Final = (
    r"(?:\w*attn\w*(?:\.#)?|\w*attention\w*|att|\w+_att|attn\.processor|attentions\.#|time_mix\w*"
    r"|\w*attention\.self|image_pooling_2d)"
)
"""Pattern for the module of an attention."""
_SSM: Final = r"(?:mixer|mamba|ssm|mamba_block|short_?conv|(?<=#\.)conv|recurrent_block)"
"""Pattern for the module of a state-space block, a recurrent block or a short convolution."""
_MLP: Final = r"(?:mlp|ffn|ff|feed_forward\w*|fast|\w*mlps?)(?:\.#)?"
"""Pattern for the module of an MLP."""
_DELTA: Final = r"(?:linear_attn|delta_net|gated_delta_net|kda|self_attn|attn|attention)"
"""Pattern for the module of a linear attention."""

_RECURRENT: Final = (
    (r"weight_ih(?:_l\d+)?(?:_reverse)?|input_to_hidden", "rnn_in"),
    (r"weight_hh(?:_l\d+)?(?:_reverse)?|hidden_to_hidden", "rnn_hidden"),
    (r"weight_hr(?:_l\d+)?(?:_reverse)?", "rnn_proj"),
)

_EXPERTS: Final = (
    (r"shared_expert_gate|ffn_gate_inp_shexp", "shared_router"),
    (
        r"(?:mlp|block_sparse_moe|moe|ffn|feed_forward|moe_layer|sparse_moe|\w+_moe)\.gate"
        r"(?:\.\w+)?",
        "router",
    ),
    (
        r"(?:\w+_)?router(?:\.layer|\.classifier|\.proj|\.gate|\.linear|\.mlp)?|ffn_gate_inp"
        r"|gate_network|expert_gate|layers\.#\.gate|mixer\.gate|mlp\.gate_weight"
        r"|gate\.(?:wg|layer)",
        "router",
    ),
)

_STATES: Final = (
    (_SSM + r"\.in_proj|ssm_in|layers\.#\.in_proj|blocks\.#\.projections", "ssm_in"),
    (_SSM + r"\.(?:x_proj|bcdt_proj)|ssm_x|layers\.#\.x_proj", "ssm_x"),
    (_SSM + r"\.(?:dt_proj|dt)|ssm_dt|layers\.#\.dt_proj", "ssm_dt"),
    (_SSM + r"\.out_proj|ssm_out|layers\.#\.out_proj", "ssm_out"),
    (
        _SSM + r"\.(?:conv1d|conv)|layers\.#\.conv1d|ssm_conv1d(?:_[qkv])?"
        r"|(?:linear_attn|self_attn|attention)\.(?:[qkv]_)?conv1d",
        "ssm_conv",
    ),
    # gated delta nets: queries, keys, values; gates of the output; rates of update and decay
    (r"in_proj_qkvz?", "qkv"),
    (
        r"in_proj_z|(?:output_gate|g_proj|g_[ab]_proj|ssm_g_[ab]|attn_gate|output_gate_proj)",
        "attn_gate",
    ),
    (r"in_proj_(?:ba|b|a)|ssm_(?:ba|beta|alpha|f_[ab])|f_[ab]_proj|forget_gate\.\w+", "decay"),
    (_DELTA + r"\.(?:a_proj|b_proj|f_proj|dt_proj)", "decay"),
    # xLSTM
    (r"(?:igate|fgate)_preact", "decay"),
    (r"ogate_preact", "attn_gate"),
)

_RWKV: Final = (
    (r"(?:feed_forward|ffn)\.key|channel_mix_key", "mlp_in"),
    (r"(?:feed_forward|ffn)\.value|channel_mix_value", "mlp_out"),
    (r"(?:feed_forward|ffn)\.receptance|channel_mix_receptance", "mlp_gate"),
    (_ATT + r"\.receptance|time_mix_receptance|(?<!_)attention\.r_proj", "r"),
    (r"time_mix_key", "k"),
    (r"time_mix_value", "v"),
    (r"time_mix_output", "o"),
    (r"(?:att|attention)\.g[12]|time_mix_g[12]|time_mix_gate|att\.gate", "attn_gate"),
    (
        r"(?:att|attention)\.[wav][12]|time_mix_(?:decay_)?[wav][12]|time_decay_w[12]|time_maa_w[12]",
        "decay",
    ),
)

_LATENT: Final = (
    (r"indexer(?:\.\w+)*", "indexer"),
    (r"q_a_proj|attn_q_a|wq_a|q_down_proj|linear_q_down_proj", "q_a"),
    (r"q_b_proj|attn_q_b|wq_b|q_up_proj|linear_q_up_proj", "q_b"),
    (r"kv_a_proj(?:_with_mqa)?|attn_kv_a_mqa|wkv_a(?:_with_mqa)?|linear_kv_down_proj", "kv_a"),
    (r"kv_b_proj|attn_kv_b|wkv_b|attn_[kv]_b|[kv]_b_proj|linear_kv_up_proj", "kv_b"),
    (r"o_a_proj|wo_a", "o_a"),
    (r"o_b_proj|wo_b", "o_b"),
)

_ATTENTION: Final = (
    (r"(?:first|second)_sub_layer\.query_net|(?:sa|ca)_q\w+_proj", "q"),
    (r"(?:first|second)_sub_layer\.key_net|(?:sa|ca)_k\w+_proj", "k"),
    (r"(?:first|second)_sub_layer\.value_net|(?:sa|ca)_v_proj", "v"),
    (r"(?:first|second)_sub_layer\.out_projection", "o"),
    (r"^query", "parameter"),  # the queries of a segmentation model
    (
        r"crossattention\.c_attn|to_kv|kv_proj|attn\.kv|\w*attention\.kv|wkv|linear_kv|kv_linear",
        "kv",
    ),
    (r"single_blocks\.#\.linear1", "qkv"),
    (
        r"qkv_proj|c_attn|(?:(?:language|vision)_expert_)?query_key_value|wqkv|w_qkv|in_proj_weight|w_pack|att_proj|to_qkv|qkv"
        r"|(?:vis_)?attn_qkv|linear_qkv|queries_keys_values|gqkv_proj",
        "qkv",
    ),
    (_ATT + r"\.in_proj", "qkv"),
    (
        r"q_proj(?:_weight)?|(?:layout_|w2e_|e2e_|e2w_)?query(?:_proj|_global|_layer)?|q_lin|wq"
        r"|to_q(?:uery)?|(?:cross_)?attn_q|q_proj_no_perm|q_linear|add_q_proj|q_attn|linear_q|q_head|project_q|projection_query(?:\.linear)?"
        r"|self_attn_q|q_gate_proj|wq_du|mlstm_layer\.q|query_key"
        r"|(?:\w+_attn_)?(?:q|query)_(?:content|pos|pos_sine)_proj",
        "q",
    ),
    (
        r"k_proj(?:_weight)?|(?:layout_)?key(?:_proj|_global|_layer|_protein)?|k_lin|wk|to_k(?:ey)?"
        r"|(?:cross_)?attn_k|k_proj_no_perm|add_k_proj|linear_k|k_head|project_k|projection_key(?:\.linear)?|self_attn_k|wk_dv|mlstm_layer\.k"
        r"|(?:\w+_attn_)?(?:k|key)_(?:content|pos)_proj",
        "k",
    ),
    (
        r"v_proj(?:_weight|_current|_delayed)?|add_v_proj|(?:layout_)?value(?:_proj|_global|_layer|_protein)?"
        r"|v_lin|wv|to_v(?:alue)?|(?:cross_)?attn_v|linear_v|v_head|project_v|projection_value(?:\.linear)?"
        r"|self_attn_v|wv_dv|mlstm_layer\.v|(?:self|cross)_attn_value_proj",
        "v",
    ),
    (
        _ATT
        + r"\.(?:\w+\.)?(?:\w*rel\w*_(?:proj|linear|embed\w*|emb)|linear_pos|pos\w*_proj|r_proj|wr_du)",
        "relative_position",
    ),
    (_ATT + r"\.(?:sampling_offsets|attention_weights)", "sampling"),
    (r"rel_attn\.r|attn_rel_pos_emb|(?<=blk\.#\.)linear_pos", "relative_position"),
    (r"\w*qkv\w*", "qkv"),
    (_ATT + r"\.q", "q"),
    (_ATT + r"\.k", "k"),
    (_ATT + r"\.v", "v"),
    (
        _ATT + r"\.(?:gate|gate_proj|linear_gate|gate_attn|(?:attn_)?sink_proj)"
        r"|compressor\.(?:gate_proj|wgate)",
        "attn_gate",
    ),
    (
        r"o_proj|to_out(?:\.#)?|to_add_out|out_lin|(?:vis_)?attn_output|attn_out|(?:cross_)?attn_o|attention_out(?:put)?|multi_head_attention\.linear"
        r"|self_attn_out"
        r"|wo_ud",
        "o",
    ),
    (
        _ATT + r"\.(?:o|wo|out_proj|dense|proj|c_proj|output|output\.dense|projection|to_out\.#|out"
        r"|linear_out|(?:language|vision)_expert_dense|post_proj|post|projection_layer|linear_proj|final|output_proj|layout_output"
        r"\.dense)",
        "o",
    ),
)

_INPUTS: Final = (
    (
        r"patch_embed(?:ding|der)?s?(?:\.#)?(?:\.proj(?:ection)?|\.proj\.#|\.linear"
        r"|\.(?:value_|input_)?patch_embeddings?(?:\.projection)?)?",
        "patch_embedding",
    ),
    (
        r"visual\.conv1|v(?:\.sam)?\.patch_embd|(?:\w+_)?patch_projection|patchifier(?:\.proj)?|patch_conv"
        r"|patch_generator\.(?:video_)?embedder",
        "patch_embedding",
    ),
    (
        r"(?:\w*_)?embed_positions|(?:\w*_)?position_embeddings?|position_embedding_table|wpe"
        r"|(?:\w*_)?pos_embed(?:ding)?s?|pos_emb|positional_embedding|position_embd"
        r"|(?:\w+_)?position(?:al)?_embeddings?|(?:[xyhw]|height|width|row|col|column)_position_emb\w*"
        r"|position_embeds_layer"
        r"|(?:row|col|column)_embed\w*|positions_embed|pos_embd|absolute_pos_embed|ape|positional_embedding_vlm",
        "position_embedding",
    ),
    (
        r"(?:\w+_)?token_type_embeddings?(?:_\d+)?|token_types?|segment_emb\w*|type_embeddings?",
        "type_embedding",
    ),
    (
        r"relative_attention_bias|relative_position_bias(?:_table)?|rel_pos_[hw]|rel_embeddings"
        r"|distance_embedding|attn_rel_b|rel_pos_(?:[xy]_)?bias|rel_pos|relative_position\w*"
        r"|rel_pos_embed|continuous_position_bias_mlp\.#|pos_bias_[uv]|r_[wr]_bias|pe_[kv]"
        r"|relative_attention_bias_layer\.\w+",
        "relative_position",
    ),
    (
        r"(?:bias)?\blm_head|embed_out|cls\.predictions\.decoder|predictions\.decoder"
        r"|lm_head\.decoder|shared_head\.head|shared_head_head|(?:\w+_)?lm_heads?(?:\.#)?"
        r"|lm_head\.out_proj|pred_layer\.proj|(?<=^head\.)decoder|vocab_projector"
        r"|(?:^|(?<=model\.))(?:head|output|proj_out|lm_loss)|^cls|unembed|(?:^|(?<=transformer\.))output_layer|^(?:output_projection|decoder)",
        "lm_head",
    ),
    (
        r"predictions\.transform\.dense|lm_head\.dense|vocab_transform|(?<!\w)head\.dense"
        r"|predictions\.dense|(?:generator_)?predictions\.dense",
        "head_dense",
    ),
    (
        r"embed_tokens(?:_per_layer)?(?:\.#)?|embed_\w+_tokens|word_embeddings?|wte|tok_embeddings?|token_embeddings?"
        r"|(?:per_layer_)?token_embd|embed_in|tokens_embed|embeddings?|shared|emb|embed"
        r"|char_embeddings(?:\.\w+)?|word_embedding|(?:\w+_)?embed_tokens|input_embedding"
        r"|\w*input_embeds_layers?(?:\.#)?|^transformer\.w",
        "embedding",
    ),
)

_OUTPUTS: Final = (
    (r"pooler(?:\.dense|\.dense_act)?", "pooler"),
    (
        r"(?:\w*classifier)(?:\.#|\.dense|\.out_proj)?|score|seq_relationship|qa_outputs|cls\.output"
        r"|(?:enc_out_)?class_(?:embed|labels_classifier|predictor)(?:\.#)?|class_head",
        "classifier",
    ),
    (
        r"(?:text|visual|image|audio|feature|language|modality|vision|embeddings?)_projection"
        r"(?:\.projection|\.#)?|project_(?:in|out)"
        r"|embedding_hidden_mapping_in"
        r"|(?:\w*merger\w*|multi_modal_projector|mm_projector|\w*aligner|\w*connector|\w*projector|mlp1|mlp_AR"
        r"|vision_language_adapter)(?:\.[\w#]+)*"
        r"|embedding_projection|eh_proj|visual\.proj|mm\.[\w.#]+|embeddings_project"
        r"|per_layer_(?:model_)?proj(?:ection)?|embedding_proj_layer|enc_to_dec_proj|encoder_proj",
        "projection",
    ),
    (r"(?:\w+_)?downsample\.reduction|reduction", "projection"),
    (
        r"(?:\w+_)?mod(?:ulation)?\.lin|ada_?ln\w*(?:\.#|\.\w+)?|\w*norm\w*\.linear(?:_#)?|adaln_proj",
        "modulation",
    ),
)

_MLPS: Final = (
    (
        r"gate_up_projs?|up_gate_proj|w12|w13(?:_dn|_weight)?|shared_w13_weight|weights_in"
        r"|(?-i:mlp\.Wi)|input_linear|gate_and_up_projs?|ffn\.proj_1|(?:up_)?gated_layers?|ffn_gate_up(?:_exps|_shexp)?",
        "gate_up",
    ),
    (
        r"gate_projs?|linear_gate|fc12|c_fc_0|fc1_g|experts(?:\.#)?\.(?:gate|linear)|gated_layers_w|wi_0|ffn_gate(?:_exps|_shexp|_chexps|_#)?|linear_fc1_gate|vis_gate|mm\.gate"
        r"|proj_up_gate",
        "gate",
    ),
    (
        r"up_projs?|fc11|c_fc_1|fc1_x|(?:block_sparse_moe|experts|experts\.#)\.(?:up|linear_v)|gated_layers_v|(?<=mlp\.)fc3|(?<=experts\.#\.)fc3|wi_1|ffn_up(?:_exps|_shexp|_chexps|_#)?|experts\.mlp\.v1|experts\.#\.v1|vis_up"
        r"|mm\.up|proj_up",
        "up",
    ),
    (
        r"down_projs?|down_layer|ffn\.proj_2|(?:block_sparse_moe|experts|experts\.#)\.(?:down|linear_1)|ffn_down(?:_exps|_shexp|_chexps|_#)?|weights_out|output_linear|vis_down|mm\.down"
        r"|proj_down|(?:shared_)?w2_(?:weight|md)",
        "down",
    ),
    (r"(?:feed_forward|ffn|\w*mlp|experts\.#|experts\.mlp|experts|\w*shared_experts?)\.w1", "gate"),
    (r"(?:feed_forward|ffn|\w*mlp|experts\.#|experts\.mlp|experts|\w*shared_experts?)\.w2", "down"),
    (r"(?:feed_forward|ffn|\w*mlp|experts\.#|experts|\w*shared_experts?)\.w3", "up"),
    (r"(?:ffn|mlp)\.w_0\.w_0", "gate"),
    (r"ffn\.w_in\.w_0", "gate"),
    (r"ffn\.w_in\.w_1", "up"),
    (r"ffn\.w_out", "down"),
    (
        r"c_fc|dense_h_to_4h|(?:\w+_)?intermediate(?:_\w+)?\.dense|\w+_inter\.dense|intermediate_dense"
        r"|fc_in|lin1|pwconv1|ff_proj|#\.ffn|ff\.net\.#\.proj|pointwise_conv1|linear_fc1|ffw_layer_1"
        r"|pw1|feed_forward\.intermediate|third_sub_layer\.dense_in",
        "mlp_in",
    ),
    (
        r"dense_4h_to_h|mlp\.c_proj|(?:\w+_)?output(?:_\w+)?\.dense|output_dense|fc_out|lin2|pwconv2"
        r"|ff_out|ffn_output|ff\.net\.#|pointwise_conv2|linear_fc2|ffw_layer_2|pw2"
        r"|feed_forward\.output|third_sub_layer\.dense_out",
        "mlp_out",
    ),
    (_MLP + r"\.(?:fc1|linear_?1|dense_?1|layer_1|proj_in|in_proj|fc1\.proj)", "mlp_in"),
    (_MLP + r"\.(?:fc2|linear_?2|dense_?2|layer_2|proj_out|out_proj)", "mlp_out"),
    (r"#\.(?:[\w.]+\.)?(?:fc1|linear1|wi)|experts\.fc1", "mlp_in"),
    (r"#\.(?:[\w.]+\.)?(?:fc2|linear2|wo)|experts\.fc2", "mlp_out"),
)

_PARAMETERS: Final = (
    (
        r"(?:\w*_)?tokens?|prompts?|latents?|queries|\w*scale\w*|time_\w+|final_logits_bias"
        r"|modulation|scale_shift_table|query_(?:embed\w*|tokens?|pos\w*)|(?:\w+_)?quer(?:y|ies)_embed\w*"
        r"|query_position_embeddings|refpoint_embed\w*|reference_point_embed|reference_points?|query_feat|queries_features"
        r"|level_embed|^query",
        "parameter",
    ),
)

RULES: Final[tuple[tuple[str, str], ...]] = (
    *_RECURRENT,
    *_EXPERTS,
    *_STATES,
    *_RWKV,
    *_LATENT,
    *_ATTENTION,
    *_INPUTS,
    *_OUTPUTS,
    *_MLPS,
    *_PARAMETERS,
)
"""All rules in the order in which they are tried."""

WEAK_RULES: Final[tuple[tuple[str, str], ...]] = (
    (
        r"(?:\w*bbox_embed|\w*_heads?|\w*predictor\w*|\w*_predictions?|head|reg_conf)"
        r"(?:\.[\w#]+)*",
        "head",
    ),
    (r"fc1", "mlp_in"),
    (r"fc2", "mlp_out"),
    (
        r"\w*codebook\w*|(?:\w+_)?embed(?:s|dings?)?(?:_layers?|_table)?(?:_\d+|\.#)?|\w+_emb"
        r"|embed_\w+",
        "embedding",
    ),
    (r"(?:\w+_)?proj(?:ect(?:ion|or)?s?)?(?:_layer)?(?:\.#|\.proj_(?:in|out))?", "projection"),
)
"""Rules for matrices that no other rule knows; a convolution of such a name is a convolution."""
