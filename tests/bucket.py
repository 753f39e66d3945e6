"""A bucket that stands in for Google's: objects in memory behind gs://, as gcsfs would show them."""

import fsspec
from etils.epath import backend
from fsspec.implementations.memory import MemoryFileSystem


class Bucket(MemoryFileSystem):
    """Objects by name; written when they are closed, whole or not at all. `uploads_left` lets the network fail."""

    protocol = ("gcs", "gs")
    store: dict = {}  # noqa: RUF012  of all instances, as fsspec's own
    pseudo_dirs: list = [""]  # noqa: RUF012
    uploads_left = float("inf")
    log: list = []  # noqa: RUF012  what was done, in order

    @classmethod
    def _strip_protocol(cls, path):
        return "/" + str(path).removeprefix("gs://").strip("/") if str(path).strip("/") else ""

    def info(self, path, **kwargs):
        found = super().info(path, **kwargs)
        return found if found["type"] == "directory" else found | {"mtime": self.modified(path)}

    def _open(self, path, mode="rb", **kwargs):
        if mode == "wb":
            if Bucket.uploads_left <= 0:
                raise ConnectionError("the network is down")
            Bucket.uploads_left -= 1
        Bucket.log.append((mode, path))
        return super()._open(path, mode, **kwargs)

    def rm(self, path, recursive=False, maxdepth=None):
        Bucket.log.append(("rm", self._strip_protocol(path)))
        super().rm(path, recursive, maxdepth)

    @classmethod
    def empty(cls) -> None:
        """An empty bucket in good health."""
        cls.store.clear()
        cls.pseudo_dirs[:] = [""]
        cls.log.clear()
        cls.uploads_left = float("inf")

    @classmethod
    def names(cls) -> set[str]:
        """Objects that are there, such as "bucket/runs/css/config.json"."""
        return {name.removeprefix("/") for name in cls.store}


def connect() -> type[Bucket]:
    """Makes gs:// paths lead here."""
    fsspec.register_implementation("gcs", Bucket, clobber=True)
    backend.fsspec_backend._get_filesystem.cache_clear()
    return Bucket
