"""Whether a hub id names a model that can be had here: asked once, before the libraries begin to ask.

They ask the hub for every file of a model and try again for half a minute where it cannot be reached, which is long and
loud for a mistyped name. One request without retries tells; what is in the cache is used without any other.
"""

from __future__ import annotations

from huggingface_hub import HfApi, try_to_load_from_cache
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, RepositoryNotFoundError

# The client's HTTP library is not the same in all its versions; whatever it is, its errors are these.
from huggingface_hub.errors import HTTPError as NoAnswer  # type: ignore[attr-defined]

from exspin.errors import ModelError

PATIENCE_S = 5.0


def cached_alone(name: str) -> bool:
    """False where the hub has the model; True where the hub cannot be reached or lacks it and the cache has it.

    Raises `ModelError`, one line, where neither has it.
    """
    try:
        HfApi().model_info(name, timeout=PATIENCE_S)
        return False
    except HFValidationError as error:
        raise ModelError(
            f"{name!r}: neither a directory nor a hub id; give one or the other"
        ) from error
    except RepositoryNotFoundError as error:
        cause: Exception = error
        why = "the hub has no such model, or it is private"
    except HfHubHTTPError:
        return False  # the hub answered: what it means is for the libraries to say
    except (OSError, NoAnswer) as error:
        cause, why = error, f"not in the cache, and the hub cannot be reached ({error})"
    if isinstance(try_to_load_from_cache(name, "config.json"), str):
        return True
    raise ModelError(
        f"{name}: {' '.join(why.split())}; check the spelling, or give a directory"
    ) from cause
