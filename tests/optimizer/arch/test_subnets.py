"""Subnets of any kind, read from JSON."""

from __future__ import annotations

import pytest

from optimizer.arch.pool import ElasticSubnet
from optimizer.arch.subnets import subnet_from_json
from optimizer.errors import InputError

MEMBER = ElasticSubnet((2, 1, 2, 2), (1.5, 1.25, 1.0, 1.5), (160, 120))


def test_json_without_a_kind_is_of_an_elastic_pool_as_version_0_1_0_wrote_it() -> None:
    written = {"depths": [2, 1, 2, 2], "widths": [1.5, 1.25, 1.0, 1.5], "size": [160, 120]}
    assert subnet_from_json(written) == subnet_from_json({"kind": "elastic", **written}) == MEMBER
    assert "kind" not in MEMBER.to_json()


def test_an_unknown_kind_is_refused_with_those_there_are() -> None:
    with pytest.raises(InputError, match="no kind of subnet 'lattice'; there are: elastic, path"):
        subnet_from_json({"kind": "lattice", "blocks": [0, 1]})


@pytest.mark.parametrize("value", [None, [], "large", {}])
def test_what_is_no_subnet_is_refused(value: object) -> None:
    with pytest.raises(InputError, match="not a member of a teacher pool"):
        subnet_from_json(value)  # type: ignore[arg-type]
