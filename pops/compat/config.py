"""The settings of the published commands: the published names and defaults, and ours beside them.

Defaults are the published ones, but files of all usual kinds are inputs, not `.jpg` alone.
"""

from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import ClassVar

from pops.errors import UsageError, check_known
from pops.io.names import input_suffixes
from pops.operators import CLOTHES, INSTRUCT, TEXTURING, Operator
from pops.settings.fields import GUIDANCE, SEED, STEPS, PathOrName, Settings, setting
from pops.settings.groups import PlacementConfig
from pops.settings.rendering import RenderSettings
from pops.settings.sampling import SAMPLERS, SamplingSettings

__all__ = ["BinaryConfig", "ClothesConfig", "InstructConfig", "PublishedConfig"]

PRIOR_REPO = "kandinsky-community/kandinsky-2-2-prior"
DECODER_REPO = "kandinsky-community/kandinsky-2-2-decoder"
OPERATORS_REPO = "pOpsPaper/operators"
EXTENSIONS = input_suffixes()


@dataclass(frozen=True, kw_only=True)
class PublishedSettings(Settings):
    """The published settings that all of the published commands have."""

    prior_path: PathOrName | None = setting(
        None,
        "weights of the operator: a file (of prior_repo, if that is given) or an operator folder",
    )
    prior_repo: PathOrName | None = setting(
        None, "repository of the hub that holds prior_path; null: it is a local path"
    )
    dir_a: Path | None = setting(None, "folder of pictures and embeddings, one file, or text:WORDS")
    kandinsky_prior_repo: PathOrName = setting(
        PRIOR_REPO, "folder or repository of the encoders and the base prior"
    )
    kandinsky_decoder_repo: PathOrName = setting(
        DECODER_REPO, "folder or repository of the decoder"
    )
    output_dir_name: Path = setting(Path("inference/results"), "folder to write into")
    prior_guidance_scale: tuple[float, ...] = setting(
        (1.0,), "guidance of the operator; each value gives its own results", within=GUIDANCE
    )
    prior_seeds: tuple[int, ...] = setting(
        SamplingSettings.seeds, "seeds of the operator; each gives one embedding", within=SEED
    )
    unet_seeds: tuple[int, ...] = setting(
        RenderSettings.seeds, "seeds of the decoder; each gives one picture", within=SEED
    )
    file_exts_a: tuple[str, ...] = setting(
        EXTENSIONS, "endings of the names of the files to take from dir_a"
    )
    name_filter_a: tuple[str, ...] | None = setting(
        None, "take only the files of dir_a with one of these in their name"
    )
    use_ipadapter: bool = setting(False, "also show each result as SDXL with IP-Adapter renders it")
    use_depth: bool = setting(
        False, "also show each result as SDXL renders it with the depth of the first input"
    )


@dataclass(frozen=True, kw_only=True)
class PublishedConfig(PlacementConfig, PublishedSettings):  # the fields of the last base come first
    """The settings that the published commands share."""

    operator: str | None = setting(None, "the operator; null: the one that prior_path names")
    stack: PathOrName | None = setting(
        None, "pocket, or a stack's name or folder, in place of the published models"
    )
    steps: int = setting(SamplingSettings.steps, "sampling steps of the operator", within=STEPS)
    sampler: str = setting(SamplingSettings.sampler, "sampler of the operator", choices=SAMPLERS)
    overwrite: bool = setting(False, "make results again that are complete already")

    default_operator: ClassVar[Operator]
    resumes: ClassVar[bool] = True  # the same command goes on where it was stopped

    def __post_init__(self) -> None:
        super().__post_init__()
        check_known("sampler", self.sampler, SAMPLERS)
        if self.prior_path is None and self.stack is None:
            raise UsageError("--prior_path is not given: name the weights, or use --stack pocket")

    @property
    def made(self) -> list[tuple[int, float]]:
        """The seed and the guidance of each embedding of a request, in the published order."""
        return list(product(self.prior_seeds, self.prior_guidance_scale))

    @property
    def weights(self) -> str | None:
        """The operator's weights as the engine takes them; None for the stack's own.

        A stack that is named comes with its operators, in place of the published ones.
        """
        if self.prior_path is None or (self.stack and self.prior_repo == OPERATORS_REPO):
            return None
        if self.is_local:
            return str(Path(self.prior_repo or "") / self.prior_path)
        return f"{self.prior_repo}:{self.prior_path}"

    @property
    def is_local(self) -> bool:
        """Whether prior_path is in this file system, in prior_repo where that is a folder."""
        return self.prior_repo is None or Path(self.prior_repo).is_dir()

    def fits(self, operator: Operator) -> bool:
        """Check whether the command can run an operator.

        Args:
            operator: the row of the operator.

        Returns:
            Whether its inputs are those that the command gives.
        """
        own = self.default_operator
        return (len(operator.inputs), operator.takes_text) == (len(own.inputs), own.takes_text)


@dataclass(frozen=True, kw_only=True)
class BinaryConfig(PublishedConfig):
    """Apply an operator of two inputs to every pair from two folders.

    For every pair, writes an embedding file for each seed and guidance, and a strip of the inputs
    and the rendered results. Run it again to go on where it was stopped.
    """

    dir_b: Path | None = setting(None, "the same for the second input")
    file_exts_b: tuple[str, ...] = setting(
        EXTENSIONS, "endings of the names of the files to take from dir_b"
    )
    name_filter_b: tuple[str, ...] | None = setting(
        None, "take only the files of dir_b with one of these in their name"
    )
    input_a_name: str = setting("objects", "caption of the first input")
    input_b_name: str = setting("textures", "caption of the second input")
    output_dir_name: Path = setting(Path("inference/binary_results"), "folder to write into")
    drop_condition_a: bool = setting(False, "leave the first input out")
    drop_condition_b: bool = setting(False, "leave the second input out")
    vis_mean: bool = setting(False, "also show the mean of the inputs")

    default_operator = TEXTURING
    examples = (
        "python -m scripts.infer_binary --config_path=configs/infer/texturing.yaml",
        "python -m scripts.infer_binary --config_path=configs/infer/scene.yaml --stack=pocket",
        "python -m scripts.infer_binary --config_path=configs/infer/pocket/union.yaml --vis_mean",
    )


@dataclass(frozen=True, kw_only=True)
class InstructConfig(PublishedConfig):
    """Apply an operator of a picture and a text to every picture of a folder and every text.

    For each, writes an embedding file for each seed and guidance, and a strip of the input and the
    rendered results. Run it again to go on where it was stopped.
    """

    texts: tuple[str, ...] | None = setting(
        None, "the instructions; null: every adjective that instruct is trained with"
    )
    output_dir_name: Path = setting(Path("inference/results_instruct"), "folder to write into")

    default_operator = INSTRUCT
    examples = (
        "python -m scripts.infer_instruct --config_path=configs/infer/instruct.yaml",
        "python -m scripts.infer_instruct --config_path=configs/infer/pocket/instruct.yaml "
        "--texts=[shiny,tiny]",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.texts is not None and not self.texts:
            raise UsageError("--texts is empty: give one or more, as in [shiny,aged]")

    @property
    def instructions(self) -> tuple[str, ...]:
        """The texts that are given, or else all adjectives of the word list."""
        if self.texts is not None:
            return self.texts
        from pops.data.word_lists import read_words

        return read_words("adjectives")


@dataclass(frozen=True, kw_only=True)
class ClothesConfig(PublishedConfig):
    """Dress a person in garments.

    dir_a is a folder of garments that make one outfit, or of folders, one for a slot, from which
    every outfit is made. A file or folder named after a slot (hat, skirt_red) goes there; where
    none is, they take the slots in turn.
    """

    output_dir_name: Path = setting(Path("inference/clothes_results"), "folder to write into")
    prior_guidance_scale: tuple[float, ...] = setting(
        (4.0,), "guidance of the operator; each value gives its own results", within=GUIDANCE
    )

    default_operator = CLOTHES
    examples = (
        "python -m scripts.infer_clothes --config_path=configs/infer/clothes.yaml",
        "python -m scripts.infer_clothes --config_path=configs/infer/pocket/clothes.yaml "
        "--dir_a=my/outfit",
    )

    def fits(self, operator: Operator) -> bool:
        """Check whether the command can run an operator.

        Args:
            operator: the row of the operator.

        Returns:
            Whether it takes some of many pictures, and no text.
        """
        return operator.min_inputs is not None and not operator.takes_text
