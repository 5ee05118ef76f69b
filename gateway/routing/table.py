"""The routing table: which variants there are, where their ensemblers are, and how callers are shared out.

Read from a TOML (or JSON) file. Unknown keys, weights that are not finite and names that appear twice are refused.
"""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from serving.config_file import Weight, host_and_port
from serving.frozen import Frozen

STABLE = "stable"
"""The variant that every table has, and that answers where another one cannot."""
MAX_VARIANTS = 8
MAX_SALT_BYTES = 64
_NOTHING = 1e-9
"""Of the callers: what sums of floating-point numbers leave over."""
NAME_PATTERN = r"^[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?$"


class VariantEntry(Frozen):
    """One variant of the pipeline."""

    name: str = Field(pattern=NAME_PATTERN, description="unique in the table; a label of metrics, and in every answer")
    address: Annotated[str, AfterValidator(host_and_port)] = Field(
        min_length=1,
        max_length=4096,
        description="host:port of its ensembler (every replica behind the name), or several ip:port with commas",
    )
    weight: Weight = Field(description="share of the callers; weights need not sum to 1; 0: only who asks for it")
    shadow: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False, strict=True)] = Field(
        default=0.0, description="share of the images that another variant computes and this one gets a copy of"
    )


class RoutingTable(Frozen):
    """Who answers whom."""

    salt: str = Field(default="", description="another salt shares the callers out anew; up to 64 bytes of UTF-8")
    variants: tuple[VariantEntry, ...] = Field(min_length=1, max_length=MAX_VARIANTS, description="`stable` among them")

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if len(self.salt.encode()) > MAX_SALT_BYTES:
            raise ValueError(f"salt: is longer than {MAX_SALT_BYTES} bytes")
        names = [entry.name for entry in self.variants]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"variants: two have the same name, {twice[0]}")
        if STABLE not in names:
            raise ValueError(f"variants: none is named {STABLE!r}; it answers where another one cannot")
        if sum(entry.weight for entry in self.variants) <= 0:
            raise ValueError("variants: all weights are 0; give at least one a weight above 0")
        return self

    @property
    def shares(self) -> dict[str, float]:
        """Share of the callers by name, [0, 1]; together 1."""
        total = sum(entry.weight for entry in self.variants)
        return {entry.name: entry.weight / total for entry in self.variants}

    def with_share(self, name: str, share: float) -> RoutingTable:
        """The table in which a variant, one that is in it and not `stable`, has `share` of the callers.

        It exchanges them with `stable` alone: the others keep their weights, and so their callers.

        Raises:
            ValueError: it is no share, or the two have less than that together.
        """
        if not 0 <= share <= 1:
            raise ValueError(f"a share is from 0 to 1, and not {share}")
        weights = {entry.name: entry.weight for entry in self.variants}
        total, both = sum(weights.values()), weights[name] + weights[STABLE]
        left = both - share * total
        if left < -_NOTHING * total:
            raise ValueError(
                f"{name} cannot have {share:.1%} of the callers: {STABLE} and it have {both / total:.1%} together, "
                "and others keep theirs until their weights are changed"
            )
        weights[STABLE] = _written(left) if left > _NOTHING * total else 0.0
        weights[name] = _written(both - weights[STABLE]) if share else 0.0
        entries = tuple(entry.model_copy(update={"weight": weights[entry.name]}) for entry in self.variants)
        return self.model_copy(update={"variants": entries})

    def without(self, name: str) -> RoutingTable:
        """The table in which the callers of a variant, one that is in it and not `stable`, are stable's."""
        return self.with_share(name, 0.0)


def _written(weight: float) -> float:
    """As it is written: 0.6 and not 0.6000000000000001."""
    return float(f"{weight:.9g}")


def only_stable(address: str) -> RoutingTable:
    """The table of a gateway that has no file: one ensembler answers everybody."""
    return RoutingTable(variants=(VariantEntry(name=STABLE, address=address, weight=1.0),))
