"""Keys of jobs: which files fit, and what they open."""

import pytest

from gateway.jobs.cipher import OVERHEAD_BYTES, Cipher, SealError
from serving.config_file import ConfigFileError

ONE, OTHER = "11" * 32, "22" * 32


def cipher(folder, *keys):
    path = folder / "-".join(key[:2] for key in keys)
    path.write_text("\n".join(keys))
    return Cipher(path)


def test_what_is_sealed_opens_in_its_place_alone(tmp_path):
    one = cipher(tmp_path, ONE)
    sealed = one.seal(b"a face", "job:work")
    assert len(sealed) == len(b"a face") + OVERHEAD_BYTES
    assert one.open(sealed, "job:work") == b"a face"
    for broken, place in ((sealed, "job:result"), (sealed[:-1], "job:work"), (b"", "job:work"), (b"\x01", "job:work")):
        with pytest.raises(SealError):
            one.open(broken, place)


def test_keys_are_changed_by_adding_one_in_front(tmp_path):
    old, both, new = cipher(tmp_path, ONE), cipher(tmp_path, OTHER, ONE), cipher(tmp_path, OTHER)
    assert both.open(old.seal(b"x", "p"), "p") == b"x"
    assert new.open(both.seal(b"x", "p"), "p") == b"x"
    assert both.is_hash(old.hash(b"ann"), b"ann")
    assert not new.is_hash(old.hash(b"ann"), b"ann")
    with pytest.raises(SealError):
        new.open(old.seal(b"x", "p"), "p")


@pytest.mark.parametrize("text", ["", "# none", "11", "zz" * 32, "11" * 33, "\xff" * 64, "1" * 9000])
def test_a_file_that_does_not_fit_is_named_and_not_quoted(tmp_path, text):
    path = tmp_path / "key"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigFileError) as caught:
        Cipher(path)
    assert str(path) in str(caught.value)
    assert not text or text not in str(caught.value).replace(str(path), "")
    with pytest.raises(ConfigFileError, match="cannot be read"):
        Cipher(tmp_path / "nowhere")
