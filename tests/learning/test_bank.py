"""The ring of past embeddings."""

import pytest
import torch

from cprspec.errors import CprspecError
from cprspec.learning.bank import Bank


def batch(first, count, size=3):
    numbers = torch.arange(first, first + count)
    return numbers[:, None].float().expand(-1, size), numbers, numbers // 2


def test_a_ring_keeps_the_newest_rows():
    bank = Bank(8, 3, 2)
    for start in range(0, 20, 4):
        assert bank.full == (start >= 8)
        key, video, source = batch(start, 4)
        bank.enqueue(key, -key[:, :2], video, source)
    assert bank.video_K.tolist() == [16, 17, 18, 19, 12, 13, 14, 15]
    assert bank.source_K.tolist() == [8, 8, 9, 9, 6, 6, 7, 7]
    assert bank.key_KD[:, 0].tolist() == bank.video_K.tolist()
    assert bank.mining_KD[:, 1].tolist() == (-bank.video_K).tolist()
    assert bank.pointer.item() == 4


def test_a_batch_may_wrap_around():
    bank = Bank(5, 3)
    for start in (0, 3, 6):
        bank.enqueue(batch(start, 3)[0], None, *batch(start, 3)[1:])
    assert bank.video_K.tolist() == [5, 6, 7, 8, 4]
    assert bank.key_KD[:, 2].tolist() == [5, 6, 7, 8, 4]


def test_before_it_is_full():
    bank = Bank(6, 3, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(bank.key_KD.norm(dim=1), torch.ones(6))
    assert torch.equal(bank.key_KD, Bank(6, 3, generator=torch.Generator().manual_seed(0)).key_KD)
    assert not bank.filled_K.any()
    bank.enqueue(batch(0, 2)[0], None, *batch(0, 2)[1:])
    assert bank.filled_K.tolist() == [True, True, False, False, False, False]
    assert bank.source_K.tolist() == [0, 0, -1, -1, -1, -1]
    assert not bank.full
    early = {name: tensor.clone() for name, tensor in bank.state_dict().items()}
    for start in (2, 4):
        bank.enqueue(batch(start, 2)[0], None, *batch(start, 2)[1:])
    assert bank.full
    bank.load_state_dict(early)
    assert not bank.full


def test_it_travels_in_a_state_dict():
    bank, copy = Bank(6, 3, 3), Bank(6, 3, 3)
    bank.enqueue(batch(0, 4)[0], batch(0, 4)[0], *batch(0, 4)[1:])
    copy.load_state_dict(bank.state_dict())
    assert set(bank.state_dict()) == {"key_KD", "mining_KD", "video_K", "source_K", "pointer"}
    for key, value in bank.state_dict().items():
        assert torch.equal(value, copy.state_dict()[key])
    assert "mining_KD" not in Bank(6, 3).state_dict()


def test_what_does_not_fit_is_refused():
    key, video, source = batch(0, 4)
    with pytest.raises(CprspecError, match="4 clips do not fit into a bank of 3"):
        Bank(3, 3).enqueue(key, None, video, source)
    with pytest.raises(CprspecError, match="mining view"):
        Bank(8, 3, 3).enqueue(key, None, video, source)
    with pytest.raises(CprspecError, match="mining view"):
        Bank(8, 3).enqueue(key, key, video, source)
