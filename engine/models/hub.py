"""Repositories of a model hub: the commit of a revision, and the files of a commit in huggingface_hub's cache."""

import errno
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from glob import escape
from pathlib import Path

from engine.config.model_settings import ModelPart
from engine.errors import ModelError


def resolve_commit(part: ModelPart) -> str:
    """Return the commit of a branch or tag; if the hub cannot be reached, the last known one. Raises ModelError."""
    from huggingface_hub import resolve_revision

    with _as_model_errors(part):
        return resolve_revision(part.source, revision=part.revision).resolved


def download_files(part: ModelPart, commit: str, files: Collection[str]) -> Path:
    """Return the folder of the commit in the cache, with those of `files` that exist. Raises ModelError."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.utils.tqdm import disable_progress_bars

    disable_progress_bars()  # actors share one terminal
    with _as_model_errors(part):
        return Path(snapshot_download(part.source, revision=commit, allow_patterns=[escape(name) for name in files]))


def list_files(part: ModelPart, commit: str, folder: Path) -> frozenset[str]:
    """Return the names of all files of a commit. folder: what `download_files` returned for it."""
    from huggingface_hub import get_cached_repo_tree
    from huggingface_hub.errors import CachedRepoTreeNotFoundError

    try:
        return frozenset(file.path for file in get_cached_repo_tree(part.source, revision=commit))
    except CachedRepoTreeNotFoundError:  # offline, and an older huggingface_hub filled the cache
        return frozenset(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@contextmanager
def _as_model_errors(part: ModelPart) -> Iterator[None]:
    from httpx2 import TransportError
    from huggingface_hub.errors import HFValidationError, RevisionResolutionError

    try:
        yield
    except (OSError, HFValidationError, RevisionResolutionError, TransportError, RuntimeError) as error:
        # RuntimeError: hf_xet, which transfers large files, raises "CAS service error" and the like.
        raise ModelError(f"{part.place}: {_explain(part, error)}") from None


def _explain(part: ModelPart, error: BaseException) -> str:
    from huggingface_hub import constants, errors

    page = f"{constants.ENDPOINT}/{part.source}"
    if isinstance(error, errors.HFValidationError):
        return f"{part.source!r} is neither a folder here nor an id like owner/name"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{part.source} has no revision {part.revision!r}; {page}/commits lists them"
    if isinstance(error, errors.GatedRepoError):
        return f"{part.source} is gated; accept its licence at {page} and set HF_TOKEN to a token of that account"
    if isinstance(error, errors.HfHubHTTPError):
        return _explain_status(part, error.response.status_code)
    if isinstance(error.__cause__, errors.HfHubHTTPError):
        return _explain(part, error.__cause__)
    return _explain_cache(part, error)


def _explain_cache(part: ModelPart, error: BaseException) -> str:
    """Explain an error that no answer of the hub caused: the disk, the network, or offline mode."""
    from huggingface_hub import constants

    cache = constants.HF_HUB_CACHE
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"no room for {part.source} in {cache}; free some, or set HF_HOME to a folder on a larger disk"
    if isinstance(error, OSError) and error.errno is not None:
        return f"{cache} cannot be written ({error.strerror}); set HF_HOME to a folder that can"
    incomplete = f"{part.source} is incomplete in {cache}"
    if constants.HF_HUB_OFFLINE:
        return f"{incomplete}, and HF_HUB_OFFLINE is set; unset it, or copy the cache of another machine here"
    reason = str(error.__cause__ or error).strip().partition("\n")[0]
    return f"{incomplete}, and {constants.ENDPOINT} fails ({reason}); check the network and HF_ENDPOINT, and try again"


def _explain_status(part: ModelPart, status: int) -> str:
    """Explain an HTTP status. The hub answers 401 or 404 for a repository that the user may not see."""
    from huggingface_hub import constants, get_token

    if status == 404 or (status == 401 and get_token() is None):
        return f"the hub shows no {part.source}; correct the id, or set HF_TOKEN to a token that may read it"
    if status == 401:
        return f"the hub rejects the token; set HF_TOKEN to one of {constants.ENDPOINT}/settings/tokens, or unset it"
    if status == 403:
        return "the hub forbids it to this token; set HF_TOKEN to one that may read the contents of repositories"
    return f"the hub answers {status} for {part.source}; try again later"
