"""A folder of one folder per class; the class names are the folders'. Masks lie in folders of the same names."""

from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Literal, Self

from pydantic import model_validator

from engine.config.data_spec import SOURCES, FileSourceSettings, MaskedSourceSettings, MaskPalette, Palette
from engine.data.masks import Mask, read_mask
from engine.data.open_source import list_class_folders, with_held_out
from engine.data.real_image import RealSet
from engine.errors import DataError


class MaskFolders(MaskPalette):
    """The class of every pixel of the real images: for each a PNG in the palette's colours, or a grey one of class
    indices, of the image's size or a whole multiple of it."""

    path: str
    """The masks of `data.path`: PATH/<class>/<name>.png."""
    held_out: str | None = None
    """The masks of `data.held_out`."""


class ImageFolderSettings(FileSourceSettings, MaskedSourceSettings):
    """Settings of the source `imagefolder`: PATH/<class>/<image>."""

    source: Literal["imagefolder"]
    masks: MaskFolders | None = None
    """Dense labels."""

    @model_validator(mode="after")
    def _held_out_has_masks(self) -> Self:
        if self.masks is not None and (self.masks.held_out is None) != (self.held_out is None):
            advice = "leave it out" if self.held_out is None else "give it"
            raise ValueError(f"masks.held_out is the folder of masks of data.held_out: {advice}")
        return self


def open_image_folder(settings: ImageFolderSettings) -> RealSet:
    """List the images, with their masks if there are some. Raises DataError where a mask is missing."""
    masks = settings.masks
    if masks is None:
        return with_held_out(settings, list_class_folders)
    folders = {settings.path: masks.path, settings.held_out: masks.held_out}
    return with_held_out(settings, lambda path: _with_masks(path, str(folders[path]), masks.palette))


def _with_masks(path: str, masks: str, palette: Palette) -> RealSet:
    listed, images = list_class_folders(path), []
    for image in listed.images:
        file = Path(masks) / Path(image.origin).relative_to(path).with_suffix(".png")
        if not file.is_file():
            raise DataError(f"data.masks: {image.origin} has no mask {file}; add it, or remove the image")
        images.append(replace(image, read_mask=partial(_read, file, palette)))
    return replace(listed, images=tuple(images))


def _read(file: Path, palette: Palette) -> Mask:
    return read_mask(file.read_bytes(), palette, str(file), "data.masks.palette")


SOURCES.register(ImageFolderSettings, open_image_folder)
