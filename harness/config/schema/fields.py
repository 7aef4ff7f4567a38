"""What the types of all sections share."""

from typing import Annotated

from pydantic import ConfigDict, Field

FORBID_EXTRA = ConfigDict(extra="forbid")
Share = Annotated[float, Field(ge=0, le=1)]
