"""A data set: labelled images, where their files are, and how to download them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import BaseModel

from tlkit.errors import PluginError, reason
from tlkit.plugin.options import check_options
from tlkit.plugin.weights import Download


@dataclass(frozen=True)
class Dataset:
    """A data set: labelled images, where their files are, and how to download them.

    The core finds the folder (--data, the option `path`, $TLKIT_DATA, the cache), downloads what is missing when it may, and hands
    the folder to `read`. `read` raises `tlkit.errors.DataError` for what is wrong in the files.

    Attributes:
        read: "module:function"(found, options) -> Images. `options` is an instance of the model below, or None.
        files: Names, relative to the folder, that must be there; () for a data set made from its options alone.
        find: "module:function"(folder, options) -> DataFiles, where the names are not known beforehand (image folders). It may
            find a folder below the one given, and raises `DataError` or `DataMissing`.
        addresses: The option `path` may also be an address, "s3://...", or a pattern of files, "images-{000..099}.tar"; `find` gets an
            address as text.
        verify: "module:function"(found, options), where `find` remembers what is in files: `apply --verify` calls it. It reads every file again,
            and raises `DataError` where one holds something else than is remembered; "" where `find` gives no `content`.
        subfolder: Name of the folder that the official archive unpacks to; the files may lie in it or without it.
        downloads: What to fetch when the files are missing; where that depends on the options, a function of them, which is called
            with None for everything.
        page: Address at which a person gets the files, where they cannot be fetched.
        inside: Folder inside an installed package, "package/sub", for a data set that is shipped.
        nominal: Images per split of the official data set, for a plan without images; where they depend on the options, a function of
            them, which is called with None for the defaults.
        classes: Number of classes where it is fixed.
        options: The plugin's own options; a field `path` names the folder.
        test_options: The options that say which images are the data set's own test images; None where any of them may. Another value of one
            of these is what makes `evaluate` say that a run may have been trained on them.
        version: Of what `find` and `read` make of the same files and options, for a plugin that makes something else of them than it did:
            part of a run's digest, so that finished runs of another version do not count. "", for the first, leaves digests as they are.
            Where it depends on them, a function of the options and of whether a cross-validation divides the images.
        licence: Licence of the images.
        summary: One line.
    """

    read: str
    files: tuple[str, ...] = ()
    find: str = ""
    addresses: bool = False
    verify: str = ""
    subfolder: str = ""
    downloads: tuple[Download, ...] | Callable[[Any], tuple[Download, ...]] = ()
    page: str = ""
    inside: str = ""
    nominal: Mapping[str, int] | Callable[[Any], Mapping[str, int]] = field(default_factory=dict)
    classes: int | None = None
    options: type[BaseModel] | None = None
    test_options: tuple[str, ...] | None = None
    version: str | Callable[[Any, bool], str] = ""
    licence: str = ""
    summary: str = ""

    def __post_init__(self) -> None:
        """Raise PluginError where the options are no model, test_options names none of them, or the version is neither text nor a function."""
        check_options(self.read, self.options)
        known = {} if self.options is None else self.options.model_fields
        if not set(self.test_options or ()) <= set(known):
            raise PluginError(f"{self.read}: test_options is {self.test_options!r}.", f"names of its options: {tuple(known)}")
        if not isinstance(self.version, str) and not callable(self.version):
            raise PluginError(
                f"{self.read}: version is {self.version!r}.", 'text, version = "2", or a function that returns it'
            )

    def fetched(self, options: BaseModel | None = None) -> tuple[Download, ...]:
        """Return what to fetch with these options."""
        return self.downloads(options) if callable(self.downloads) else self.downloads

    def nominal_images(self, options: BaseModel | None = None) -> Mapping[str, int]:
        """Return the images per split of the official data set with these options; {} where they are not known."""
        return self.nominal(options) if callable(self.nominal) else self.nominal

    def version_of(self, options: BaseModel | None = None, *, folds: bool = False) -> str:
        """Return the version of what is read with these options.

        Args:
            options: As `read` gets them.
            folds: Whether a cross-validation divides the images.

        Raises:
            PluginError: the plugin's function fails, or gives something else than text.
        """
        if isinstance(self.version, str):
            return self.version
        try:
            version = self.version(options, folds)
        except Exception as error:  # whatever a third party's code raises
            raise PluginError(f"{self.read}: its version fails: {reason(error)}.") from error
        if not isinstance(version, str):
            raise PluginError(f"{self.read}: its version gives {version!r}.", 'text, "2", or "" for the first version')
        return version
