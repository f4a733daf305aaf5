"""The base of every section of the settings."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A frozen group of settings; a key that is not a setting is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")
