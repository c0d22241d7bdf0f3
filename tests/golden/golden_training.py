"""Golden checks of momentum contrast: single steps, traces of features, and traces of the whole training loop."""

import torch
from gloo import on_ranks
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.testing import assert_close

from cprspec.learning.cascade import Cascade, LabelPick
from cprspec.learning.moco import MoCo
from cprspec.models.heads import Encoder

MEAN, STD = (torch.tensor(v).view(3, 1, 1, 1) for v in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]))


class Backbone(nn.Module):
    """The one-layer network of the traces."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv3d(3, 6, 3, (1, 2, 2), 1, bias=False)
        self.bn = nn.BatchNorm3d(6)

    def forward(self, x):
        return torch.relu(self.bn(self.conv(x)))


def check_moco(golden):
    facts = golden.facts
    model = MoCo(
        nn.Identity(), queue_size=facts["K"], embedding=facts["D"], temperature=facts["T"], momentum=0.9
    )  # fmt: skip
    model.bank.key_KD.copy_(golden["queue0"])
    model.bank.pointer.copy_(golden["ptr0"][0])
    ids = torch.arange(facts["B"])
    for s in range(facts["S"]):
        q = golden["q"][s].clone().requires_grad_()
        step = model(q, golden["k"][s], None, ids, ids, permutation_M=ids.flip(0), drop_own=True)
        step.loss.backward()
        assert_close(step.logits_NL, golden["out.logits"][s], atol=2e-5, rtol=0)
        assert_close(step.loss, golden["out.loss"][s], atol=2e-6, rtol=0)
        assert_close(q.grad, golden["out.grad_q"][s], atol=1e-6, rtol=0)
        model.enqueue([step], ids, ids)
        assert_close(model.bank.key_KD, golden["out.queue"][s], atol=1e-6, rtol=0)
        assert int(model.bank.pointer) == int(golden["out.ptr"][s])
    for i, momentum in enumerate(facts["momentum"]):
        encoder = Encoder(Backbone(), 6, 8)
        mover = MoCo(encoder, queue_size=8, embedding=8, temperature=1.0, momentum=momentum)
        mover.encoder_q.load_state_dict(golden.under(f"mom{i}.before.encoder_q."))
        mover.encoder_k.load_state_dict(golden.under(f"mom{i}.before.encoder_k."))
        mover.momentum_update()
        for key, value in mover.encoder_k.state_dict().items():
            assert_close(value, golden[f"mom{i}.after.encoder_k.{key}"], atol=1e-6, rtol=0)


def make_miner(facts):
    return Cascade(stages=facts["stages"] if facts["cascade"] else 1, ratio=facts["ratio"], topk=facts["topk"])


def check_features(golden):
    facts = golden.facts
    for world in {1, facts["world"]}:
        traces = on_ranks(world, feature_trace, golden.tensors, facts, world) if world > 1 else [
            feature_trace(0, golden.tensors, facts, 1)
        ]  # fmt: skip
        for key, atol in (("logits", 3e-5), ("loss_keep", 1e-5), ("loss_drop", 1e-5), ("grad_drop", 1e-6)):
            found = torch.stack([trace[key] for trace in traces], dim=1)
            # Of one process with all clips the loss is the mean of what the ranks had, and gradients are shared out.
            expected = golden[f"out.{key}"]
            if world < facts["world"]:
                expected = expected.mean(1, keepdim=True) if key.startswith("loss") else expected.flatten(1, 2)[:, None]
                expected = expected / facts["world"] if key == "grad_drop" else expected
            assert_close(found, expected, atol=atol, rtol=0, msg=lambda m, key=key: f"{key}: {m}")
        mask = torch.stack([trace["mask"] for trace in traces], dim=1)
        assert torch.equal(mask.flatten(1, 2), golden["out.mask"].flatten(1, 2))
        for trace in traces:
            assert torch.equal(trace["full"], golden["out.full"])
            assert torch.equal(trace["vname"], golden["out.queue_vname"])
            assert torch.equal(trace["ptr"], golden["out.ptr_after"][:, 0])
            assert_close(trace["queue"], golden["out.queue"], atol=1e-6, rtol=0)
            assert_close(trace["queue_second"], golden["out.queue_second"], atol=1e-6, rtol=0)


def feature_trace(rank, tensors, facts, world):
    """Every step of one rank, with identities in place of encoders."""
    trained, mining = ("flow", "rgb") if facts["reverse"] else ("rgb", "flow")

    def own(name):
        value = tensors[f"in.{name}"]
        return value[:, rank] if world > 1 else value.flatten(1, 2)

    model = MoCo(
        nn.Identity(), sampler=nn.Identity(), miner=make_miner(facts), queue_size=facts["K"], embedding=facts["D"],
        temperature=facts["T"], momentum=0.9,
    )  # fmt: skip
    model.bank.key_KD.copy_(tensors["init.queue0"])
    assert model.bank.mining_KD is not None
    model.bank.mining_KD.copy_(tensors["init.queue_second0"])
    queries, keys, others, sources = own(f"{trained}1"), own(f"{trained}2"), own(f"{mining}2"), own("vsource")
    order = torch.randperm(queries.shape[1] * world, generator=torch.Generator().manual_seed(0))
    trace = []
    for s in range(facts["S"]):
        q = queries[s].clone().requires_grad_()
        steps = [
            model(q, keys[s], others[s], sources[s], sources[s], permutation_M=order, drop_own=drop)
            for drop in (False, True)
        ]
        (grad,) = torch.autograd.grad(steps[1].loss, steps[1].logits_NL)
        model.enqueue(steps[:1], sources[s], sources[s])
        trace.append(
            {
                "logits": steps[0].logits_NL.detach(), "mask": steps[0].positive_NL, "grad_drop": grad,
                "loss_keep": steps[0].loss.detach(), "loss_drop": steps[1].loss.detach(),
                "full": torch.tensor(not steps[0].warm_up), "queue": model.bank.key_KD.clone(),
                "queue_second": model.bank.mining_KD.clone(), "vname": model.bank.source_K.clone(),
                "ptr": model.bank.pointer.clone(),
            }
        )  # fmt: skip
    return {key: torch.stack([row[key] for row in trace]) for key in trace[0]}


def check_training(golden):
    facts = golden.facts
    compare_training(golden, [training_trace(0, golden.tensors, facts, 1)])
    if facts["world"] > 1:
        compare_training(golden, on_ranks(facts["world"], training_trace, golden.tensors, facts, facts["world"]))


def compare_training(golden, traces):
    """`traces`, of each rank or of one process for all, against the file."""
    shape = golden["out.logits"].shape
    logits, positive = (torch.stack([t[k] for t in traces], dim=1).reshape(shape) for k in ("logits", "positive"))
    assert_close(logits, golden["out.logits"], atol=5e-4, rtol=0)
    loss = torch.stack([t["loss"] for t in traces], dim=1)
    expected = golden["out.loss"] if len(traces) > 1 else golden["out.loss"].mean(1, keepdim=True)
    assert_close(loss, expected, atol=1e-4, rtol=0)
    target = golden["out.target"]
    if target.dtype != torch.bool:
        # The published InfoNCE gives the column of the positive.
        target = torch.nn.functional.one_hot(target, shape[-1]).bool()
    assert torch.equal(positive, target)
    for s, state in enumerate(traces[0]["states"]):
        for key, value in state.items():
            expected = golden[f"step{s}.{key}"]
            assert_close(value.float(), expected.float(), atol=2e-5, rtol=0, msg=lambda m, at=(s, key): f"{at}: {m}")


def training_trace(rank, tensors, facts, world):
    """The training loop on one rank of `world`; one process takes the clips of all ranks and as many groups."""
    model = make_model(tensors, facts)
    sent = {key: tensors[f"in.{key}"] for key in ("clips", "vsource", "label")}
    own = {key: value[:, rank] if world > 1 else value.flatten(1, 2) for key, value in sent.items()}
    labels = sent["label"].flatten()
    numbers = torch.arange(labels.numel()).view(sent["label"].shape)
    videos = numbers[:, rank] if world > 1 else numbers.flatten(1, 2)
    parallel = DistributedDataParallel(model, broadcast_buffers=False) if world > 1 else model
    optimizer = torch.optim.Adam(model.encoder_q.parameters(), lr=facts["lr"], weight_decay=facts["wd"])
    trace = []
    for s in range(facts["S"]):
        query, key, mining = cut(own["clips"][s], facts)
        bank_K = model.bank.video_K
        allowed = None
        if facts["kind"] == "ubernce":
            allowed = (labels[videos[s]][:, None] == labels[bank_K.clamp(min=0)]) & (bank_K >= 0)
        drop = facts["kind"] == "coclr" and bool(tensors["in.coin"][s] < 0.9)
        model.momentum_update()
        step = parallel(
            query, key, mining, videos[s], own["vsource"][s], permutation_M=tensors["in.perm"][s], drop_own=drop,
            allowed_NK=allowed,
        )  # fmt: skip
        optimizer.zero_grad()
        if not step.warm_up:
            step.loss.backward()
            optimizer.step()
        model.enqueue([step], videos[s], own["vsource"][s])
        trace.append(
            (step.logits_NL.detach(), step.positive_NL, step.loss.detach(), own_state(model, labels, facts, s))
        )
    logits, positive, loss, states = zip(*trace, strict=True)
    return {
        "logits": torch.stack(logits), "positive": torch.stack(positive), "loss": torch.stack(loss),
        "states": list(states),
    }  # fmt: skip


def make_model(tensors, facts):
    """MoCo as the file's kind of training needs it, with the file's initial weights."""
    d = facts["dim"]
    coclr = facts["kind"] == "coclr"
    model = MoCo(
        Encoder(Backbone(), 6, d),
        sampler=Encoder(Backbone(), 6, d) if coclr else None,
        miner={"coclr": make_miner(facts), "ubernce": LabelPick(topk=0), "infonce": None}[facts["kind"]],
        queue_size=facts["K"], embedding=d, temperature=facts["T"], momentum=facts["m"], bn_groups=facts["world"],
        loss="mean_of_logs" if facts["kind"] == "ubernce" else "log_of_sum",
        to_input=normalise, mining_input=normalise,
    )  # fmt: skip
    weights = {k.removeprefix("init."): v for k, v in tensors.items() if k.startswith("init.")}
    for part in ("encoder_q", "encoder_k", *(["sampler"] if coclr else [])):
        own = {k.removeprefix(f"{part}."): v for k, v in weights.items() if k.startswith(f"{part}.")}
        getattr(model, part).load_state_dict(own)
    model.bank.key_KD.copy_(weights["queue"].T)
    if coclr:
        model.bank.mining_KD.copy_(weights["queue_second"].T)
    return model.train()


def normalise(clip):
    return (clip / 255 - MEAN) / STD


def cut(blocks, facts):
    """Query, key and mining clips from `[N,blocks,3,2*seq,H,W]`."""
    first, second = blocks.split(facts["seq"], dim=3)
    if facts["kind"] != "coclr":
        return first[:, 0], second[:, 0], None
    trained, mining = (second, first) if facts["reverse"] else (first, second)
    return trained[:, 0], trained[:, 1], mining[:, 1]


def own_state(model, labels, facts, step):
    """What the published checkpoints would hold after `step`; the bank only after the last, as in the file."""
    parts = {f"encoder_q.{k}": v for k, v in model.encoder_q.state_dict().items()}
    parts |= {f"encoder_k.{k}": v for k, v in model.encoder_k.state_dict().items()}
    if model.sampler is not None:
        parts |= {f"sampler.{k}": v for k, v in model.sampler.state_dict().items()}
    if step == facts["S"] - 1:
        bank = model.bank
        parts |= {"queue": bank.key_KD.T, "queue_ptr": bank.pointer[None]}
        if facts["kind"] == "ubernce":
            parts["queue_label"] = torch.where(bank.video_K < 0, -1, labels[bank.video_K])
        if facts["kind"] == "coclr":
            parts |= {"queue_second": bank.mining_KD.T, "queue_vname": bank.source_K}
    return {key: value.clone() for key, value in parts.items()}
