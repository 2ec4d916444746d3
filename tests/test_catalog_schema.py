"""The schema holds every column of the contract, and documents it."""

from __future__ import annotations

import pyarrow as pa
import pytest

from catalog.schema import SCHEMA_VERSION, TABLES, UNIT_TABLES, Table
from catalog.schema.arrow_types import ARROW_TYPES, arrow_schema
from catalog.schema.table import Type

CONTRACT = {
    "layers": """sweep_id model_id revision analysis_key
        layer_index tensor part block role expert step num_rows num_cols n m q receptive_field
        num_evals num_params stored_dtype decoder is_dequantised tied_to status reason lambda_max
        lambda_min frobenius_norm_sq log_norm log_spectral_norm stable_rank matrix_rank
        matrix_entropy weight_mean weight_std weight_kurtosis weight_max_abs l2_norm
        abs_weight_entropy alpha alpha_stderr alpha_low alpha_high ks_distance xmin xmax num_tail alpha_hat alpha_hill
        log_alpha_norm tail_status tail_warning mp_sigma mp_edge_lower mp_edge_upper mp_num_spikes
        mp_softrank rand_lambda_max rand_mp_sigma rand_mp_edge_upper rand_ks_distance
        rand_ks_p_value rand_distance num_traps num_traps_stderr num_traps_tw num_traps_ww trap_counts trap_threshold
        trap_p_value trap_excess_max erg_num erg_lambda_min erg_gap erg_delta erg_log_ratio
        quality_discrete quality_free_cauchy quality_inverse_mp quality_levy_wigner
        quality_r_transform htsr_phase read_s spectrum_s shuffle_s total_s bytes_read device""",
    "traps": """sweep_id model_id revision analysis_key layer_index
        replicate trap_index eigenvalue excess_rel p_value ipr_left ipr_right localisation_q
        participation_ratio top5_mass top10_mass rank1_mass top_overlap mean_overlap jsd jsd_stderr
        jsd_control_p95 probe_kind num_probes temperature verdict""",
    "models": """sweep_id model_id revision analysis_key author library pipeline_tag architecture
        licence downloads likes base_model last_modified family step num_params layers_analysed
        layers_skipped layers_failed requests seconds versions host device""",
    "evaluations": "task dataset metric value",
    "spectra": "eigenvalues rand_eigenvalues",
    "failures": "cause message traceback attempts log_uri",
    "sweeps": "sweep_id spec versions started_at ended_at",
}


@pytest.mark.parametrize("table", CONTRACT)
def test_every_column_of_the_contract_is_there(table: str) -> None:
    missing = set(CONTRACT[table].split()) - set(arrow_schema(table).names)
    assert not missing


@pytest.mark.parametrize("table", TABLES.values(), ids=lambda t: t.name)
def test_every_column_says_its_unit_and_meaning(table: Table) -> None:
    assert table.meaning.endswith(".")
    for column in table.columns:
        assert column.unit, column.name
        assert column.meaning.endswith(".") and len(column.meaning) > 3, column.name
        field = arrow_schema(table.name).field(column.name)
        assert field.metadata[b"meaning"].decode() == column.meaning


@pytest.mark.parametrize("table", TABLES.values(), ids=lambda t: t.name)
def test_columns_are_unique_and_keys_exist(table: Table) -> None:
    names = [column.name for column in table.columns]
    assert len(names) == len(set(names))
    assert {*table.part_key, *table.sort_key} <= set(names)
    assert all(not table.column(name).nullable for name in table.part_key)


@pytest.mark.parametrize("kind", Type)
def test_a_type_is_named_as_arrow_names_it(kind: Type) -> None:
    assert str(ARROW_TYPES[kind]) == kind


def test_metrics_are_float64_spectra_float32_and_counts_of_replicates_int32() -> None:
    layers, spectra = arrow_schema("layers"), arrow_schema("spectra")
    assert layers.field("alpha").type == pa.float64()
    assert layers.field("trap_counts").type == pa.list_(pa.int32())
    assert spectra.field("eigenvalues").type == pa.list_(pa.float32())


def test_unit_tables_share_their_part_key() -> None:
    assert {TABLES[t].part_key for t in UNIT_TABLES} == {TABLES["layers"].part_key}
    assert SCHEMA_VERSION >= 1
