"""Golden checks of the linear head and of the test over crops."""

import torch
from torch.testing import assert_close

from cprspec.components.evaluators import Classifier
from cprspec.evaluation.crops import Answering, over_crops
from cprspec.evaluation.features import video_feature
from cprspec.evaluation.recognition import judge
from cprspec.models.heads import ClassHead


def check_linear_head(golden):
    classes, size = golden["state.final_fc.0.weight"].shape
    head = ClassHead(size, classes, l2=True, batch_norm=True)
    head.load_state_dict(
        {f"norm.{k}": v for k, v in golden.under("state.final_bn.").items()}
        | {f"linear.{k}": v for k, v in golden.under("state.final_fc.0.").items()}
    )
    assert_close(torch.nn.functional.normalize(golden["pooled"]), golden["feature"], atol=5e-5, rtol=0)
    assert_close(head.eval()(golden["pooled"]), golden["logits_eval"], atol=5e-5, rtol=0)
    assert_close(head.train()(golden["pooled"]), golden["logits_train"], atol=5e-5, rtol=0)
    for name, expected in golden.under("after.").items():
        assert_close(getattr(head.norm, name), expected, atol=5e-5, rtol=0)


def check_crops(golden):
    answering = Answering(torch.nn.Identity(), "rgb", torch.nn.Identity(), "probabilities")
    counts = golden["n_clips"]
    said = [
        torch.cat(
            [
                video_feature(answering, windows_WL[:count], torch.device("cpu"))
                for windows_WL, count in zip(golden["logits"][:, crop], counts.tolist(), strict=True)
            ]
        )
        for crop in range(10)
    ]
    accuracy = golden["acc_center_five_ten"]
    for number, (crops, name) in enumerate([(1, "center"), (5, "five"), (10, "ten")]):
        found = over_crops(said[:crops], Classifier())
        assert_close(found, golden[f"prob_{name}"], atol=1e-6, rtol=0)
        top = judge(found, golden["label"]).top
        assert_close(torch.tensor([top[1], top[5]]), accuracy[number], atol=1e-6, rtol=0, check_dtype=False)
