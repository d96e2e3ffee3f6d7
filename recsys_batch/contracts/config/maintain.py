"""The blocks `maintain` and `forget` of the configuration."""

from pydantic import Field

from recsys_batch.contracts.config.block import Block


class Maintain(Block):
    """What the maintenance job keeps."""

    keep_nights: int = Field(14, ge=1)
    """Business dates, the newest first, whose vectors, run folders and staged slices stay; later ones always do."""
    retention_hours: int = Field(168, ge=0)
    """Nothing younger is removed, and a vector only so long after it was first found unused: longer than the longest
    night, or a running one may lose what it reads. 0 only where none runs."""


class Forget(Block):
    """How users that asked to be forgotten are told in later inputs, without their ids being kept."""

    key_with: str = Field("", pattern=r"^([A-Za-z_]\w*)?$")
    """Name of an environment variable with a secret key, for the hashes in the suppression list; the one of
    `prepare.pseudonymize_with` where empty. Who changes it has to forget all users anew."""
