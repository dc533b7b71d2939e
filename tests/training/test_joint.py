"""One prior for several operators: mixed examples, operator embeddings, shared tensors."""

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file

from pops.data.sources.mixing import JointSource
from pops.errors import UsageError, WeightsError
from pops.operators import read_operator_card
from pops.prior.joint import OWN_WEIGHTS, SHARED_WEIGHTS, JointPrior
from pops.prior.model import Prior, PriorConfig
from pops.settings.flags.parsing import parse
from pops.stacks.convert import convert
from pops.stacks.stack import open_stack
from pops.training.config import TrainConfig
from pops.training.model import Footprint, ModelSettings, make_model, trained_parameters
from pops.training.tasks import find_tasks
from tests.training import training_run
from tests.training.training_run import MemorySource

SMALL = PriorConfig(num_attention_heads=2, attention_head_dim=8, num_layers=2, embedding_dim=16)
STEPS = 6


def configs(folder: Path, *modes: str, more: str = "") -> str:
    for mode in modes:
        (folder / f"{mode}.yaml").write_text(f"mode: {mode}\nstack: pocket\nguidance: 3.0\n{more}")
    return ",".join(str(folder / f"{mode}.yaml") for mode in modes)


def flags(out: Path, golden: Path, *more: str, steps: int = STEPS) -> list[str]:
    return [
        *("--stack=pocket", f"--pretrained_prior_path={golden / 'kandinsky-tiny-prior'}"),
        *(f"--output_dir={out}", "--train_batch_size=4", "--lr=1e-2", "--device=cpu", "--use_ema"),
        *("--report_to=none", f"--max_train_steps={steps}", "--checkpointing_steps=3", *more),
    ]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, golden: Path) -> Path:
    """The folder of a joint run's operators: texturing and union."""
    out = tmp_path_factory.mktemp("joint")
    joined = configs(out, "texturing", "union")
    assert training_run.main(flags(out / "run", golden, f"--joint={joined}")) == 0
    return out / "run" / "operators"


@settings(deadline=None)
@given(
    lengths=st.lists(st.integers(1, 7), min_size=2, max_size=4),
    positions=st.lists(st.integers(0, 200), min_size=1, max_size=12),
)
def test_every_row_is_that_of_its_own_source(lengths: list[int], positions: list[int]):
    sources = [MemorySource(8, n, text=at == 1, seed=at) for at, n in enumerate(lengths)]
    joint = JointSource(sources)
    pairs = [divmod(position, len(joint)) for position in positions]
    (batch,) = joint.batches([pairs])
    assert batch.operator is not None and batch.text_embeds is not None
    for row, (epoch, index) in enumerate(pairs):
        number = int(batch.operator[row])
        part, record, turn = joint.parts.locate(epoch, index)
        assert number == part
        (alone,) = sources[number].batches([[(int(turn), int(record))]])
        torch.testing.assert_close(batch.target[row], alone.target[0])
        torch.testing.assert_close(batch.conditions.tokens[row], alone.conditions.tokens[0])
        wanted = torch.zeros(8) if alone.text_embeds is None else alone.text_embeds[0]
        torch.testing.assert_close(batch.text_embeds[row], wanted)


def test_every_operator_has_as_many_rows_however_many_records_it_has():
    joint = JointSource([MemorySource(8, 3), MemorySource(8, 30), MemorySource(8, 1)])
    (batch,) = joint.batches([[(0, index) for index in range(len(joint))]])
    assert batch.operator is not None
    assert batch.operator.bincount().tolist() == [30, 30, 30]


def test_batches_without_a_row_of_an_operator_leave_its_order_alone():
    joint = JointSource([MemorySource(8, 4), MemorySource(8, 4, seed=1)])
    plan = [[(0, 0), (0, 2)], [(0, 1)], [(0, 3), (0, 4)]]
    split = torch.cat([batch.target for batch in joint.batches(plan)])
    (whole,) = joint.batches([[pair for rows in plan for pair in rows]])
    torch.testing.assert_close(split, whole.target)


def test_operator_embeddings_are_biases_of_a_plain_prior():
    joint = JointPrior(Prior(SMALL), 3).eval()
    (own,) = (p for name, p in joint.named_parameters() if not name.startswith("prior."))
    torch.nn.init.normal_(own)
    x, t, tokens = torch.randn(3, 16), torch.tensor([1, 500, 999]), torch.randn(3, 2, 16)
    mask = torch.tensor([[True, True], [True, False], [True, True]])
    together = joint(x, t, tokens, mask, torch.tensor([2, 0, 1]))
    for row, number in enumerate((2, 0, 1)):
        at = slice(row, row + 1)
        alone = joint.operator(number)(x[at], t[at], tokens[at], mask[at])
        torch.testing.assert_close(alone, together[at], atol=1e-5, rtol=0)


def test_a_joint_prior_starts_as_the_base_for_every_operator(golden: Path):
    stack = open_stack("pocket", device="cpu", prior=golden / "kandinsky-tiny-prior")
    model = make_model(ModelSettings(), stack, 2)
    assert isinstance(model, JointPrior)
    own = [name for name in trained_parameters(model) if not name.startswith("prior.")]
    assert len(own) == 1
    base, dim = stack.base_prior, stack.prior_config.embedding_dim
    inputs = torch.randn(1, dim), torch.tensor([500]), torch.randn(1, 2, dim)
    torch.testing.assert_close(model.operator(1)(*inputs), base(*inputs))
    footprint = Footprint.of(model, tokens=2, batch=4)
    assert footprint.trained == sum(p.numel() for p in trained_parameters(model).values())


def test_a_joint_run_leaves_a_folder_for_every_operator(trained: Path, golden: Path):
    stack = open_stack("pocket", device="cpu", prior=golden / "kandinsky-tiny-prior")
    priors = {}
    for name in ("texturing", "union"):
        card = read_operator_card(trained / name)
        assert (card.operator.name, card.operator.guidance) == (name, 3.0)
        assert card.training["trained jointly"] == "texturing + union"
        row, priors[name] = stack.operator(str(trained / name))
        assert row.name == name
    one, other = priors["texturing"], priors["union"]
    assert one.proj_in.weight.data_ptr() == other.proj_in.weight.data_ptr()
    assert not torch.equal(one.embedding_proj.bias, other.embedding_proj.bias)
    own, shared = trained / "union" / OWN_WEIGHTS, trained / SHARED_WEIGHTS
    assert own.stat().st_size < shared.stat().st_size / 20


def test_a_joint_run_that_goes_on_ends_as_one_that_never_stopped(
    trained: Path, tmp_path: Path, golden: Path
):
    joined = f"--joint={configs(tmp_path, 'texturing', 'union')}"
    for steps in (3, STEPS):
        assert training_run.main(flags(tmp_path / "run", golden, joined, steps=steps)) == 0
    for name in (SHARED_WEIGHTS, f"union/{OWN_WEIGHTS}"):
        own, others = load_file(tmp_path / "run" / "operators" / name), load_file(trained / name)
        assert all(torch.equal(own[key], others[key]) for key in others)


def test_training_can_start_from_one_of_a_joint_prior(trained: Path, golden: Path):
    stack = open_stack("pocket", device="cpu", prior=golden / "kandinsky-tiny-prior")
    started = make_model(ModelSettings(init_from=str(trained / "union")), stack)
    assert isinstance(started, Prior)
    torch.testing.assert_close(
        started.embedding_proj.bias.detach(),
        load_file(trained / "union" / OWN_WEIGHTS)["embedding_proj.bias"],
    )


def test_one_of_a_joint_prior_converts_to_a_weights_file_of_its_own(
    trained: Path, stack_parts: dict[str, Path], tmp_path: Path
):
    (tmp_path / "pocket").mkdir()  # a stack has the name of its folder
    for part, place in stack_parts.items():
        (tmp_path / "pocket" / part).symlink_to(place)
    made = convert(trained / "union", tmp_path / "union.pth", stack=str(tmp_path / "pocket"))
    own = load_file(trained / SHARED_WEIGHTS) | load_file(trained / "union" / OWN_WEIGHTS)
    state = torch.load(made, weights_only=True)
    assert state.keys() == own.keys()
    assert all(torch.equal(state[key], value) for key, value in own.items())


def test_an_operator_without_the_shared_prior_is_told_of_it(
    trained: Path, golden: Path, tmp_path: Path
):
    stack = open_stack("pocket", device="cpu", prior=golden / "kandinsky-tiny-prior")
    (tmp_path / "union").mkdir()
    for file in ("operator.json", OWN_WEIGHTS):
        (tmp_path / "union" / file).write_bytes((trained / "union" / file).read_bytes())
    with pytest.raises(WeightsError, match=r"prior\.safetensors is missing"):
        stack.operator(str(tmp_path / "union"))


@pytest.mark.parametrize(
    ("own", "said"),
    [
        ({"proj_in.bias": torch.zeros(64)}, "holds proj_in.bias, not"),
        (
            {
                "encoder_hidden_states_proj.bias": torch.zeros(3),
                "embedding_proj.bias": torch.zeros(3),
            },
            "2 of another shape",
        ),
    ],
)
def test_own_tensors_that_do_not_fit_are_named(
    own: dict[str, torch.Tensor], said: str, trained: Path, golden: Path, tmp_path: Path
):
    stack = open_stack("pocket", device="cpu", prior=golden / "kandinsky-tiny-prior")
    (tmp_path / SHARED_WEIGHTS).symlink_to(trained / SHARED_WEIGHTS)
    (tmp_path / "union").mkdir()
    card = (trained / "union" / "operator.json").read_text()
    (tmp_path / "union" / "operator.json").write_text(card)
    save_file(own, tmp_path / "union" / OWN_WEIGHTS)
    with pytest.raises(WeightsError, match=said):
        stack.operator(str(tmp_path / "union"))


@pytest.mark.parametrize(
    ("joined", "more", "said"),
    [
        (("texturing", "texturing"), (), "two configs train texturing"),
        (
            ("texturing", "scene"),
            ("--stack=kandinsky-2.2",),
            "is for the stack pocket, not kandinsky-2.2",
        ),
        (("texturing", "scene"), ("--lora_rank=4",), "leave out --joint"),
        (("texturing", "scene"), ("--cache=caches/scene",), "takes all data from the configs"),
    ],
)
def test_what_cannot_be_joined_is_refused(
    joined: tuple[str, ...], more: tuple[str, ...], said: str, golden: Path, tmp_path: Path
):
    given_flags = flags(tmp_path, golden, f"--joint={configs(tmp_path, *joined)}", *more)
    with pytest.raises(UsageError, match=said):
        config = parse("train", TrainConfig, given_flags)
        assert config is not None
        find_tasks(config)


def test_a_config_that_joins_others_is_not_joined_itself(golden: Path, tmp_path: Path):
    inner = configs(tmp_path, "texturing", "scene")
    (tmp_path / "both.yaml").write_text(f"stack: pocket\njoint: [{inner}]\n")
    config = parse("train", TrainConfig, flags(tmp_path, golden, f"--joint={tmp_path}/both.yaml"))
    assert config is not None
    with pytest.raises(UsageError, match="has --joint itself"):
        find_tasks(config)
