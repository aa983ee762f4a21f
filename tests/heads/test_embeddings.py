# Copyright (c) monai_shortcut contributors
# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import re

import pytest
import torch
import torch.distributed as distributed
from monai.data import MetaTensor
from monai.networks.nets import DenseNet121
from torch import nn
from wrappers import data_parallel

from monai_shortcut.heads.embeddings import EmbeddingHook, embed, first_output
from monai_shortcut.heads.layers import evaluating, is_pointwise, run_order, unwrap
from monai_shortcut.networks import SonoNet


def hooks(network: nn.Module) -> int:
    return sum(len(module._forward_hooks) + len(module._forward_pre_hooks) for module in network.modules())


def test_a_pixelwise_layers_input_is_averaged_over_space():
    convolution = nn.Conv2d(2, 3, 1)
    inputs = torch.randn(3, 2, 2, 5)
    with EmbeddingHook(nn.Sequential(convolution), "0") as hook:
        nn.Sequential(convolution)(inputs)  # another network around the same layer: the layer is what is recorded
    expected = torch.zeros(3, 2)
    for image in range(3):
        for d in range(2):
            expected[image, d] = sum(inputs[image, d, y, x] for y in range(2) for x in range(5)) / 10
    torch.testing.assert_close(hook.embeddings, expected)


def test_a_linear_layers_tokens_are_averaged_over_the_middle_axes():
    linear = nn.Linear(4, 2)
    tokens = torch.randn(3, 5, 4)
    with EmbeddingHook(linear, "") as hook:
        outputs = linear(tokens)
    torch.testing.assert_close(hook.embeddings, torch.stack([tokens[:, i] for i in range(5)]).mean(dim=0))
    torch.testing.assert_close(linear(hook.embeddings), outputs.mean(dim=1))


def test_what_is_recorded_is_a_copy_that_later_layers_do_not_change():
    network = nn.Sequential(nn.Identity(), nn.ReLU(inplace=True))
    with EmbeddingHook(network, "1") as hook:
        network(torch.tensor([[-1.0, 2.0]], requires_grad=True).clone())
    assert hook.embeddings.tolist() == [[-1.0, 2.0]]
    assert not hook.embeddings.requires_grad


@pytest.mark.parametrize(
    ("dtype", "expected"),
    [(torch.bfloat16, torch.float32), (torch.float32, torch.float32), (torch.float64, torch.float64)],
)
def test_embeddings_are_plain_tensors_of_float32_or_float64(dtype, expected):
    network = nn.Sequential(nn.Linear(2, 1)).to(dtype)
    with EmbeddingHook(network, "0") as hook:
        network(MetaTensor(torch.ones(3, 2, dtype=dtype)))
    assert type(hook.embeddings) is torch.Tensor
    assert hook.embeddings.dtype == expected


def test_an_input_given_by_keyword_is_recorded():
    class Keyword(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(2, 1)

        def forward(self, inputs):
            return self.head(input=inputs)

    network = Keyword()
    with EmbeddingHook(network, "head") as hook:
        network(torch.tensor([[1.0, 2.0]]))
    assert hook.embeddings.tolist() == [[1.0, 2.0]]


class Gated(nn.Module):
    """A head that runs only when asked."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(2, 1)

    def forward(self, inputs: torch.Tensor, with_head: bool = True) -> torch.Tensor:
        return self.head(inputs) if with_head else inputs


def test_a_layer_that_has_not_run_in_the_last_pass_is_an_error_not_an_old_value():
    network = Gated()
    hook = EmbeddingHook(network, "head")
    message = "layer 'head' must run in the forward pass to be recorded, but it has not run"
    with hook, pytest.raises(RuntimeError, match=message):
        _ = hook.embeddings
    with hook:
        network(torch.ones(3, 2))
        assert hook.embeddings.shape == (3, 2)
        network(torch.ones(3, 2), with_head=False)
        with pytest.raises(RuntimeError, match=message):
            _ = hook.embeddings
        network(torch.zeros(1, 2))
    network(torch.ones(3, 2))  # after the block nothing is recorded
    assert hook.embeddings.tolist() == [[0.0, 0.0]]
    with hook.attach(), pytest.raises(RuntimeError, match=message):
        _ = hook.embeddings


def test_hooks_go_after_an_exception_and_do_not_pile_up():
    network = Gated()
    hook = EmbeddingHook(network, "head")
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"), hook:
        network(torch.ones(3, 5))
    assert hooks(network) == 0
    hook.attach()
    one = hooks(network)
    hook.attach()
    assert hooks(network) == one > 0
    hook.remove()
    hook.remove()
    assert hooks(network) == 0


# --- one forward pass only -------------------------------------------------------------------------------------------


class Failing(nn.Module):
    """Passes its input on, but for what its class is told to raise."""

    def __init__(self) -> None:
        super().__init__()
        self.error: BaseException | None = None

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        if self.error is not None:
            raise self.error
        return inputs


def failing() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 4), Failing(), nn.Linear(4, 2))


def test_recording_once_takes_the_next_pass_and_leaves_no_hook():
    network, batches = failing(), torch.randn(3, 5, 3)
    hook = EmbeddingHook(network, "2")
    for batch in batches:
        assert hook.attach(once=True) is hook
        with pytest.raises(RuntimeError, match="but it has not run"):
            _ = hook.embeddings
        network(batch)
        assert hooks(network) == 0
        network(batches.sum(dim=0))  # not recorded
        torch.testing.assert_close(hook.embeddings, network[0](batch).detach())
    hook.attach(once=True).attach(once=True)
    hook.remove()
    assert hooks(network) == 0
    hook.attach(once=True)
    with hook:  # now every pass
        network(batches[0])
        network(batches[1])
        torch.testing.assert_close(hook.embeddings, network[0](batches[1]).detach())
    assert hooks(network) == 0


@pytest.mark.parametrize("number", [1, 3])
def test_recording_once_leaves_no_hook_when_the_pass_raises(number):
    network, batch = failing(), torch.randn(5, 3)
    recorders = [EmbeddingHook(network, layer) for layer in ("2", "0", "")][:number]
    for recorder in recorders:
        recorder.attach(once=True)
    network[1].error = RuntimeError("out of memory")
    with pytest.raises(RuntimeError, match="out of memory") as raised:
        network(batch)
    assert raised.value.__context__ is None  # removing hooks while torch walks through them would raise another
    assert hooks(network) == 0
    with pytest.raises(RuntimeError, match="but it has not run"):
        _ = recorders[0].embeddings
    network[1].error = None
    for recorder in recorders:
        recorder.attach(once=True)
    network(batch)
    assert hooks(network) == 0
    torch.testing.assert_close(recorders[0].embeddings, network[0](batch).detach())


def test_recording_once_is_over_after_a_failing_hook_of_others_and_leaves_theirs():
    network, batch = failing(), torch.randn(5, 3)

    def refuse(*_: object) -> None:
        raise RuntimeError("refused")

    first, second = EmbeddingHook(network, "2"), EmbeddingHook(network, "0")
    places = network.register_forward_pre_hook, network.register_forward_hook, network[1].register_forward_hook
    for register in places:
        first.attach(once=True)
        other = register(refuse)
        second.attach(once=True)
        with pytest.raises(RuntimeError, match="refused") as raised:
            network(batch)
        assert raised.value.__context__ is None
        assert hooks(network) == 1
        other.remove()


def test_a_pass_that_was_interrupted_is_over_with_the_next():
    network, batch = failing(), torch.randn(5, 3)
    EmbeddingHook(network, "2").attach(once=True)
    network[1].error = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        network(batch)
    network[1].error = None
    network(batch)
    assert hooks(network) == 0


def test_recording_once_beside_one_that_records_always():
    network, batches = failing(), torch.randn(2, 5, 3)
    with EmbeddingHook(network, "2") as always:
        once = EmbeddingHook(network, "", reads="input").attach(once=True)
        network(batches[0])
        network(batches[1])
    torch.testing.assert_close(always.embeddings, network[0](batches[1]).detach())
    torch.testing.assert_close(once.embeddings, batches[0])
    assert hooks(network) == 0


@pytest.mark.parametrize("wrapper", ["data parallel", "compiled", "distributed"])
def test_recording_once_through_wrappers(wrapper):
    network, batches = failing(), torch.randn(12, 5, 3)
    if wrapper == "distributed":
        distributed.init_process_group("gloo", rank=0, world_size=1, store=distributed.HashStore())
    try:
        wrap = {"data parallel": data_parallel, "compiled": lambda n: torch.compile(n, backend="eager")}
        wrapped = wrap.get(wrapper, nn.parallel.DistributedDataParallel)(network)
        for named, called in ((wrapped, wrapped), (network, wrapped)):
            hook = EmbeddingHook(named, "2")
            for batch in batches:
                hook.attach(once=True)
                called(batch)
                assert hooks(network) == 0
                torch.testing.assert_close(hook.embeddings, network[0](batch).detach())
        network[1].error = RuntimeError("out of memory")
        hook.attach(once=True)
        with pytest.raises(RuntimeError, match="out of memory"):
            wrapped(batches[0])
        assert hooks(network) == 0
    finally:
        if wrapper == "distributed":
            distributed.destroy_process_group()


def test_a_logit_map_recorded_once():
    network = SonoNet(2, 1, 3, width=1).eval()
    images = torch.randn(2, 1, 32, 48)
    hook = EmbeddingHook(network, "adaptation.4", reads="logit_map").attach(once=True)
    logits = network(images)
    assert hooks(network) == 0
    torch.testing.assert_close(hook.embeddings.reshape(2, 3, 6).mean(dim=2), logits.detach())


# --- networks and layers ---------------------------------------------------------------------------------------------


def test_an_unknown_layer_lists_those_there_are():
    with pytest.raises(ValueError, match=r"modules, such as \['head'\], got 'fc'"):
        EmbeddingHook(Gated(), "fc")


def test_wrapped_networks_are_recorded_by_the_inner_names():
    network = SonoNet(2, 1, 3, width=1).eval()
    images = torch.randn(2, 1, 16, 16)
    expected, _ = embed(network, images, "adaptation.3")
    for wrapped in (data_parallel(network), torch.compile(network, backend="eager")):
        assert unwrap(wrapped) is network
        with EmbeddingHook(wrapped, "adaptation.3") as hook:
            wrapped(images)
        torch.testing.assert_close(hook.embeddings, expected)


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")
def test_torchscript_is_refused():
    script = torch.jit.script(nn.Linear(2, 1))
    message = "must be a Python module whose layers call hooks, got TorchScript. Build the network in Python"
    for network in (script, torch.jit.freeze(script.eval()), data_parallel(script)):
        with pytest.raises(ValueError, match=re.escape(message)):
            unwrap(network)
    with pytest.raises(ValueError, match="call hooks, got an exported function"):
        unwrap(lambda images: images)


@pytest.mark.parametrize(
    ("network", "shape", "layer"),
    [
        (
            DenseNet121(2, 1, 2, init_features=8, growth_rate=4, block_config=(2, 2, 2, 2)),
            (1, 32, 32),
            "class_layers.out",
        ),
        (SonoNet(2, 1, 2, width=2), (1, 32, 16), "adaptation.3"),
    ],
)
def test_embed_gives_what_the_last_executed_head_reads_and_the_logits_of_evaluation_mode(network, shape, layer):
    network.train()
    network(torch.randn(4, *shape))
    images = torch.randn(3, *shape)
    embeddings, logits = embed(network, images)
    named, _ = embed(network, images, layer)
    torch.testing.assert_close(embeddings, named, rtol=0, atol=0)
    one_by_one = [embed(network, image[None], layer) for image in images]  # evaluation mode: no image sees another
    torch.testing.assert_close(embeddings, torch.cat([e for e, _ in one_by_one]), rtol=1e-3, atol=1e-5)
    network.eval()
    torch.testing.assert_close(logits, network(images).detach())
    assert len({tuple(row) for row in embeddings.tolist()}) == 3


def test_embed_restores_training_flags_statistics_and_random_state_also_after_an_error():
    network = nn.Sequential(nn.BatchNorm1d(2), nn.Dropout(), nn.Linear(2, 1)).train()
    network[1].eval()
    flags = [module.training for module in network.modules()]
    statistics = {name: values.clone() for name, values in network.state_dict().items()}
    random_state = torch.get_rng_state()
    embed(network, torch.randn(4, 2, generator=torch.Generator().manual_seed(1)))
    with pytest.raises(RuntimeError, match="running_mean"):
        embed(network, torch.zeros(4, 3))
    with evaluating(network):
        torch.rand(1)
        assert not torch.is_grad_enabled()
    assert torch.equal(torch.get_rng_state(), random_state)
    assert [module.training for module in network.modules()] == flags
    assert all(torch.equal(values, statistics[name]) for name, values in network.state_dict().items())
    assert hooks(network) == 0


def test_a_logit_map_is_the_output_of_a_layer_flattened_class_by_class():
    convolution = nn.Conv2d(2, 3, 1)
    network = nn.Sequential(convolution, nn.ReLU(inplace=True))  # the rectifier does not reach the recorded copy
    images = torch.randn(4, 2, 2, 5)
    with EmbeddingHook(network, "0", reads="logit_map") as hook:
        network(images)
    expected = torch.zeros(4, 3 * 2 * 5)
    for image in range(4):
        for cell in range(3 * 2 * 5):
            c, y, x = cell // 10, cell // 5 % 2, cell % 5
            expected[image, cell] = convolution.weight[c, :, 0, 0] @ images[image, :, y, x] + convolution.bias[c]
    torch.testing.assert_close(hook.embeddings, expected.detach())
    assert (hook.embeddings < 0).any()
    assert not hook.embeddings.requires_grad
    assert hooks(network) == 0
    network = SonoNet(2, 1, 3, width=1).eval()
    embeddings, logits = embed(network, torch.randn(2, 1, 32, 48), "adaptation.4", reads="logit_map")
    torch.testing.assert_close(embeddings.reshape(2, 3, 6).mean(dim=2), logits)


def test_a_logit_map_needs_a_layer_whose_output_is_one():
    network, images = SonoNet(2, 1, 3, width=1), torch.randn(2, 1, 32, 32)
    with pytest.raises(ValueError, match=r"reads must be one of \('input', 'logit_map'\), got 'output'"):
        EmbeddingHook(network, "adaptation.4", reads="output")
    with pytest.raises(ValueError, match=r'layer must be named with reads="logit_map", got None'):
        embed(network, images, reads="logit_map")
    with pytest.raises(ValueError, match=r"layer '' must have shape \(B, C, ...\) to be a map, got \(2, 3\)"):
        embed(network, images, "", reads="logit_map")
    with pytest.raises(ValueError, match=r"layer '0' must have shape \(B, C, ...\) to be a map, got tuple"):
        embed(nn.Sequential(Output(lambda logits: (logits, logits))), torch.randn(2, 2), "0", reads="logit_map")


class Output(nn.Module):
    def __init__(self, output) -> None:
        super().__init__()
        self.head, self.output = nn.Linear(2, 3), output

    def forward(self, inputs: torch.Tensor):
        return self.output(self.head(inputs))


@pytest.mark.parametrize(
    ("returned", "output"),
    [
        (lambda logits: (logits, [logits * 2]), None),
        (lambda logits: [logits], None),
        (lambda logits: [logits * 2, logits], 1),
        (lambda logits: (logits * 2, [logits]), 1),
        (lambda logits: logits[..., None, None], None),
        (lambda logits: logits[:, :, None, None, None], None),
        (lambda logits: MetaTensor(logits), None),
        (lambda logits: {"pred": logits}, None),
        (
            lambda logits: {"map": logits[..., None, None].expand(-1, -1, 2, 2), "pred": logits, "loss": logits.mean()},
            None,
        ),
        (lambda logits: {"twice": logits * 2, "pred": logits}, "pred"),
        (lambda logits: {"pred": (logits, logits * 2)}, "pred"),
        (lambda logits: ({"pred": logits, "name": "plane"}, logits * 2), None),
        (lambda logits: {0: logits * 2, 1: logits}, 1),
    ],
)
def test_logits_are_read_from_tuples_lists_dicts_and_maps_of_one_pixel(returned, output):
    network = Output(returned)
    images = torch.randn(4, 2)
    _, logits = embed(network, images, output=output)
    assert type(logits) is torch.Tensor
    torch.testing.assert_close(logits, network.head(images).detach())
    with_gradient = first_output(network(images), output, as_is=True)
    torch.testing.assert_close(with_gradient.as_subclass(torch.Tensor), network.head(images))
    assert with_gradient.requires_grad


def test_one_logit_per_image_without_a_class_axis_gets_one():
    network = Output(lambda logits: logits[:, 0])
    images = torch.randn(4, 2)
    torch.testing.assert_close(embed(network, images)[1], network.head(images)[:, :1].detach())


@pytest.mark.parametrize(
    ("returned", "output", "message"),
    [
        (lambda logits: None, None, r"must have shape \(N, C\), got a NoneType\."),
        (
            lambda logits: torch.stack([logits, logits], dim=2),
            None,
            r"must have shape \(N, C\), got maps of shape \(4, 3, 2\): the model is not a classifier",
        ),
        (lambda logits: (), None, r"must be an entry of a tuple that the network returns, got 0"),
        (
            lambda logits: {"pred": logits, "scanner": logits[:, :2]},
            None,
            r"one entry of shape \(N, C\) or say which it is, got a dict with 'pred': \(4, 3\), 'scanner': \(4, 2\); "
            "pass output= the key of the logits",
        ),
        (lambda logits: {"loss": logits.mean()}, None, r"got a dict with 'loss': \(\); pass output="),
        (
            lambda logits: {"pred": logits, "of": [logits, None]},
            "label",
            r"an entry of a dict with 'pred': \(4, 3\), 'of': a list with 0: \(4, 3\), 1: a NoneType that .*'label'",
        ),
        (lambda logits: [logits, logits], 2, r"an entry of a list with 0: \(4, 3\), 1: \(4, 3\) that .*, got 2"),
        (lambda logits: [logits, logits], "pred", r"an entry of a list with 0: .*, got 'pred'"),
        (
            lambda logits: (logits[..., None].expand(-1, -1, 5), logits),
            None,
            r"shape \(N, C\), got \(4, 3, 5\) in a tuple with 0: \(4, 3, 5\), 1: \(4, 3\); pass output= the entry",
        ),
        (lambda logits: logits, "pred", r"output goes with a dict, tuple or list, got 'pred' and \(4, 3\)"),
    ],
)
def test_outputs_that_are_no_logits_are_refused(returned, output, message):
    with pytest.raises(ValueError, match=message):
        embed(Output(returned), torch.randn(4, 2), output=output)


def test_embeddings_and_logits_are_one_row_per_image_of_a_layer_that_runs():
    images = torch.randn(4, 2)
    with pytest.raises(ValueError, match="each of the 4 images, got 4 embeddings and 3 rows of logits"):
        embed(Output(lambda logits: logits[1:]), images)
    with pytest.raises(ValueError, match="must run a Linear or 1x1 convolution, got none; pass layer="):
        embed(nn.ReLU(), images)


def test_the_running_order_is_of_execution_not_of_definition():
    class Backwards(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.second, self.first, self.unused = nn.Linear(3, 2), nn.Conv1d(1, 3, 1), nn.Linear(1, 1)

        def forward(self, inputs):
            return self.second(self.first(inputs).mean(dim=2))

    network = Backwards()
    images = torch.randn(2, 1, 4)
    assert run_order(network, images) == ["first", "second"]
    assert embed(network, images)[0].shape == (2, 3)
    assert not is_pointwise(nn.Conv1d(1, 1, 3))
    assert not is_pointwise(nn.ConvTranspose1d(1, 1, 1))
