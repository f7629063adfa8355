# SPDX-License-Identifier: Apache-2.0
"""Commands and flags that do not serve are named, before anything is loaded."""

import pytest
from conftest import regard

CLASSIFY = "train classify --model FOLDER --out o"
LM = "train lm --text a --out o"


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("sumarise m", "no command 'sumarise'; expected one of"),
        ("train translat", "train: no command 'translat'; expected one of translate"),
        ("data ubuntu", "data: no command 'ubuntu'; expected one of debian"),
        ("embed m a --threads 100000", "--threads: Value 100000 not in range"),
        ("translate m --threads -1", "--threads: Value -1 not in range"),
        ("align m --source a --threads 5000", "--threads: Value 5000 not in range"),
        (f"generate m a --tokens {2**62}", f"--tokens: {2**62}; expected 1 to"),
        ("translate m --top-k 3", "--top-k: is for --sample"),
        ("embed m a --json --out x.npy", "excludes"),
        ("data debian --languages en,de,en --out x", "--languages: en is there twice"),
        (f"{CLASSIFY} --text a --valid-share 0.1", "--valid-share: is for --images"),
        (f"{CLASSIFY} --images a --layers 3", "--layers: is of a new model"),
        (f"{CLASSIFY} --images a --dim -4", "--dim: Value -4 not in range"),
        (f"{LM} --model FOLDER --dim 8", "--dim: is of a new model"),
        (f"{LM} --epochs -1", "--epochs: -1; expected 0"),
        (f"{LM} --schedule cosine --steps 2", "--steps: 2; expected more than --warmup"),
        (f"{LM} --schedule inverse_sqrt", "--schedule: 'inverse_sqrt'; expected one of"),
        (
            "train translate --source a --target b --out o --vocabulary-type foo",
            "--vocabulary-type",
        ),
    ],
)
def test_what_does_not_serve_is_named(command, message, tmp_path):
    arguments = [tmp_path if one == "FOLDER" else one for one in command.split()]
    done = regard(*arguments, check=False)
    assert done.returncode == 2 and message in done.stderr, done.stderr
