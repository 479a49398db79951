"""How published networks for pathology are named, built and read, and on which terms."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_HUB = "https://huggingface.co/"
_PATCH_14 = {"init_values": 1e-5, "mlp_layer": "SwiGLUPacked", "act_layer": "nn.SiLU"}
_VIRCHOW = {"mlp_ratio": 5.3375, **_PATCH_14}
_OPTIMUS = {
    "mean": (0.707223, 0.578729, 0.703617),
    "std": (0.211883, 0.230117, 0.177517),
}
_CLIP = {
    "mean": (0.48145466, 0.4578275, 0.40821073),
    "std": (0.26862954, 0.26130258, 0.27577711),
}


@dataclass(frozen=True)
class BackboneRecipe:
    """How one published network is named, built and read.

    Attributes
    ----------
    parameters : mapping
        `model_name`, and what else names the network, as
        :class:`~skcyto.feature_extraction.EVA02TokenEmbedder` and
        :class:`~skcyto.neural_network.EVA02Classifier` take it.
    architecture : str
        timm's name of the architecture: with `weights` the path of a single file, it stands in
        place of `model_name`.
    tokens : str or tuple of str
        What its authors take for the features of an image.
    final_norm : bool or str
        Where its authors apply the final norm, as `final_norm` of the embedder.
    embedding_dim : int
        Length of these features.
    licence : str
        As its page states it.
    page : str
        Where to read the terms and ask for access.
    gated : bool
        Whether access must be asked for.
    note : str
        What else to know.

    See Also
    --------
    known_backbones : All recipes.

    Examples
    --------
    >>> from skcyto.feature_extraction import EVA02TokenEmbedder, known_backbones
    >>> recipe = known_backbones()["virchow2"]
    >>> recipe.licence, recipe.embedding_dim
    ('CC-BY-NC-ND-4.0', 2560)
    >>> embedder = EVA02TokenEmbedder(
    ...     **recipe.parameters, tokens=recipe.tokens, final_norm=recipe.final_norm
    ... )
    """

    parameters: Mapping[str, Any]
    architecture: str
    embedding_dim: int
    licence: str
    page: str
    tokens: str | tuple[str, ...] = "class"
    final_norm: bool | str = "tokens"
    gated: bool = True
    note: str = ""


@dataclass(frozen=True)
class _Hub:
    """A repository of the Hugging Face Hub whose config.json is timm's."""

    repository: str
    model_kwargs: Mapping[str, Any] = field(default_factory=dict)
    more: Mapping[str, Any] = field(default_factory=dict)

    def recipe(self, architecture: str, embedding_dim: int, licence: str, **rest: Any) -> Any:
        parameters = {"model_name": f"hf-hub:{self.repository}", **self.more}
        if self.model_kwargs:
            parameters["model_kwargs"] = dict(self.model_kwargs)
        page = f"{_HUB}{self.repository}"
        return BackboneRecipe(parameters, architecture, embedding_dim, licence, page, **rest)


def known_backbones() -> dict[str, BackboneRecipe]:
    """List published networks for pathology and cytology, and how to name them.

    Nothing is downloaded. Most are gated: ask for access on the page of the recipe, run
    ``hf auth login``, or fetch the folder once by ``hf download owner/name --local-dir folder`` and
    give that folder as `model_name`, which then needs no network. The terms are those of the page,
    and change: read them there.

    Returns
    -------
    recipes : dict of str to BackboneRecipe
        By a short name.

    See Also
    --------
    EVA02TokenEmbedder : Takes the parameters of a recipe.

    Notes
    -----
    Arguments, preprocessing and tokens are those of the authors' own instructions, licences those
    of their pages, read in November 2026. Architectures were checked against timm with random
    weights; the weights themselves are out of reach of skcyto's tests.

    Examples
    --------
    >>> from skcyto.feature_extraction import known_backbones
    >>> sorted(known_backbones())[:4]
    ['conch', 'dinobloom-b', 'dinobloom-g', 'dinobloom-l']
    """
    giant = "vit_giant_patch14_reg4_dinov2"
    both: Any = {"tokens": ("class", "image")}
    non_commercial = "CC-BY-NC-ND-4.0"
    uni2 = {
        **_PATCH_14,
        "patch_size": 14,
        "depth": 24,
        "num_heads": 24,
        "embed_dim": 1536,
        "reg_tokens": 8,
        "mlp_ratio": 2.66667 * 2,
        "no_embed_class": True,
    }
    giga: dict[str, Any] = {"patch_size": 16, "embed_dim": 1536, "depth": 40, "num_heads": 24}
    giga |= {"mlp_ratio": 5.33334}
    recipes = {
        "uni": _Hub("MahmoodLab/UNI", {"init_values": 1e-5}).recipe(
            "vit_large_patch16_224", 1024, non_commercial
        ),
        "uni2-h": _Hub("MahmoodLab/UNI2-h", uni2).recipe(
            "vit_giant_patch14_224", 1536, non_commercial
        ),
        "gigapath": _Hub("prov-gigapath/prov-gigapath", giga).recipe(
            "vit_giant_patch14_dinov2",
            1536,
            "Apache-2.0; its page restricts it to research",
            note="The encoder of tiles; that of slides is no image network.",
        ),
        "virchow": _Hub("paige-ai/Virchow", _VIRCHOW).recipe(
            "vit_huge_patch14_224", 2560, "Apache-2.0", **both
        ),
        "virchow2": _Hub("paige-ai/Virchow2", {**_VIRCHOW, "reg_tokens": 4}).recipe(
            "vit_huge_patch14_224", 2560, non_commercial, **both
        ),
        "h-optimus-0": _Hub("bioptimus/H-optimus-0", {"init_values": 1e-5}, _OPTIMUS).recipe(
            giant, 1536, "Apache-2.0"
        ),
        "h-optimus-1": _Hub("bioptimus/H-optimus-1", {"init_values": 1e-5}, _OPTIMUS).recipe(
            giant, 1536, non_commercial
        ),
        "phikon": _Hub("1aurent/vit_base_patch16_224.owkin_pancancer").recipe(
            "vit_base_patch16_224",
            768,
            "Owkin's non-commercial licence",
            gated=False,
            note="A copy for timm of owkin/phikon, whose own file is read as weights= too.",
        ),
        "phikon-v2": BackboneRecipe(
            {"model_name": "vit_large_patch16_224", "model_kwargs": {"init_values": 1.0}},
            "vit_large_patch16_224",
            1024,
            "Owkin's non-commercial licence",
            f"{_HUB}owkin/phikon-v2",
            note="No model of timm: `hf download owkin/phikon-v2 model.safetensors`, and give the "
            "file as weights=; its names are translated.",
        ),
        "conch": BackboneRecipe(
            {"model_name": "vit_base_patch16_224", "image_size": 448, **_CLIP},
            "vit_base_patch16_224",
            768,
            non_commercial,
            f"{_HUB}MahmoodLab/CONCH",
            tokens="image",
            note="No model of timm: `hf download MahmoodLab/CONCH pytorch_model.bin`, and give the "
            "file as weights=. What is read is the trunk of its image tower; the attention that "
            "pools the trunk's tokens into CONCH's own 512 numbers is no part of timm's network.",
        ),
        "dinov3": BackboneRecipe(
            {"model_name": "vit_large_patch16_dinov3.lvd1689m"},
            "vit_large_patch16_dinov3",
            1024,
            "DINOv3 licence",
            f"{_HUB}timm/vit_large_patch16_dinov3.lvd1689m",
            gated=False,
            note="Made for photographs. Other sizes: timm.list_models('*dinov3*', "
            "pretrained=True).",
        ),
    }
    for letter, size, dim in (("s", "small", 384), ("b", "base", 768), ("l", "large", 1024)):
        recipes[f"dinobloom-{letter}"] = _dinobloom(size, dim)
    recipes["dinobloom-g"] = _dinobloom("giant", 1536)
    return recipes


def _dinobloom(size: str, dim: int) -> BackboneRecipe:
    recipe: BackboneRecipe = _Hub(f"1aurent/vit_{size}_patch14_224.dinobloom").recipe(
        f"vit_{size}_patch14_dinov2",
        dim,
        "Apache-2.0",
        gated=False,
        note="White blood cells and bone marrow. A copy for timm of MarrLab/DinoBloom, whose own "
        "file is read as weights= too.",
    )
    return recipe
