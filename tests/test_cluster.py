"""What a cluster is asked for is written once, checked, and a mistake in it is one line."""

import dataclasses
import json
import re
import subprocess
from pathlib import Path

import pytest

from milbench.chem.cluster import run_on_cluster
from milbench.chem.work import Work
from milbench.cli import main
from milbench.cluster import TEMPLATE, ClusterFlags, SlurmOptions, read_config, taken, write_template
from milbench.errors import ConfigError
from milbench.prepare_config import PrepareConfig
from milbench.slurm import Script, submit

FILE = """\
partition = "gpu"
time = 90
cpus = 4
setup = ["module load cuda"]

[prepare]
partition = "cpu"
gpus = 0
"""


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    path = tmp_path / "milbench" / "cluster.toml"
    path.parent.mkdir()
    path.write_text(FILE)
    return path


def test_flags_override_the_commands_table_and_that_the_file(file: Path) -> None:
    asked = ClusterFlags("slurm", cpus=1).options("prepare")
    assert (asked.partition, asked.gpus, asked.cpus, asked.time) == ("cpu", "0", 1, "90")
    assert asked.setup == ("module load cuda",)
    assert ClusterFlags("slurm").options("hpo").partition == "gpu"


def test_without_a_file_the_cluster_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert ClusterFlags("slurm").options("run") == SlurmOptions()


def test_every_option_of_the_template_is_one_and_none_is_missing(tmp_path: Path) -> None:
    whole = re.sub(r"^# (?=\w+ = |\[)", "", TEMPLATE, flags=re.MULTILINE)
    path = tmp_path / "cluster.toml"
    path.write_text(whole)
    content = read_config(path)
    assert content.keys() - {"prepare"} == {field.name for field in dataclasses.fields(SlurmOptions)}
    assert content["prepare"] == {"partition": "cpu", "gpus": 0, "time": "4:00:00"}
    assert read_config(write_template(tmp_path / "new" / "mine.toml")) == {}  # as it is written, it asks for nothing
    with pytest.raises(ConfigError, match=r"mine\.toml: is there already"):
        write_template(tmp_path / "new" / "mine.toml")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('partitoin = "gpu"', r"cluster\.toml: unknown option, got 'partitoin'; did you mean 'partition'\?"),
        ('[hpo]\nzzz = "gpu"', r"cluster\.toml \[hpo\]: unknown option, got 'zzz'; use partition, account"),
        ('[hop]\npartition = "gpu"', r"cluster\.toml: unknown table, got 'hop', want run, hpo, prepare, predict"),
        ("partition = 3", r"cluster\.toml, partition: got 3, want a text"),
        ('time = "an hour"', r"cluster\.toml, time: got 'an hour', want such as 12:00:00"),
        ("gpus = true", r"cluster\.toml, gpus: got True, want such as 1 or a100:1"),
        ("[run]\ncpus = 0", r"cluster\.toml \[run\], cpus: got 0, want a whole number, 1 or more"),
        ('setup = "module load cuda"', r"cluster\.toml, setup: got 'module load cuda', want a list of texts"),
        ('sbatch = ["constraint=a100"]', r"cluster\.toml, sbatch: got .*, want options of sbatch"),
        ("partition = gpu", r"cluster\.toml: is not valid TOML \(.*line 1"),
    ],
)
def test_a_mistake_in_the_file_is_one_line(file: Path, text: str, line: str) -> None:
    file.write_text(text)
    with pytest.raises(ConfigError, match=line) as said:
        ClusterFlags("slurm").options("prepare")
    assert "\n" not in str(said.value)


def test_a_mistake_in_a_flag_names_the_flag(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^--time: got 'soon', want such as"):
        ClusterFlags("slurm", time="soon")
    with pytest.raises(ConfigError, match=r"^--partition: is a wish to a cluster; add --cluster slurm"):
        ClusterFlags(partition="gpu")
    with pytest.raises(ConfigError, match=r"nowhere\.toml: cannot be read .*; check --cluster_config"):
        ClusterFlags("slurm", tmp_path / "nowhere.toml").options("run")


def test_a_command_is_sent_without_its_cluster_flags() -> None:
    args = ["run", "--cluster=slurm", "--store", "a", "--cluster-config", "c.toml", "--fix", "lr=1e-4", "x=2", "--cpus", "4"]
    assert taken(args) == (["run", "--store", "a", "--fix", "lr=1e-4", "x=2"], ClusterFlags("slurm", Path("c.toml"), cpus=4))
    assert taken(["run", "--store", "a"]) == (["run", "--store", "a"], ClusterFlags())
    with pytest.raises(ConfigError, match="--cpus: got 'many', want a whole number"):
        taken(["run", "--cluster", "slurm", "--cpus", "many"])
    with pytest.raises(ConfigError, match="--cluster: got 'lsf', want none or slurm"):
        taken(["run", "--cluster", "lsf"])


def test_the_template_is_written_on_request(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["jobs", "template", str(tmp_path / "cluster.toml")]) == 0
    assert (tmp_path / "cluster.toml").read_text() == TEMPLATE
    assert "take the # off what you need" in capsys.readouterr().out


def test_where_slurm_is_not_installed_one_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    script = Script(["true"], SlurmOptions(), "job", tmp_path / "log.txt", tmp_path)
    with pytest.raises(ConfigError, match=r"--cluster slurm: there is no sbatch on this machine; run this .* on a login node"):
        submit(script, tmp_path / "job.sh")


def test_a_script_is_valid_shell_whatever_it_carries(tmp_path: Path) -> None:
    odd = tmp_path / 'it\'s 50% "odd"'
    options = SlurmOptions.of({"setup": ["export A='b c'", "true # a comment"], "sbatch": ["--comment=two words"]}, "test")
    script = Script(["echo", "it's", "$HOME"], options, "job", odd / "%A_%a.txt", odd, 3, {"B": "d'e f"})
    (tmp_path / "job.sh").write_text(script.text() + '\necho "$A|$B"\n')
    assert "50%% " in script.text() and "--comment='two words'" in script.text() and "/%A_%a.txt'" in script.text()
    said = subprocess.run(["bash", str(tmp_path / "job.sh")], capture_output=True, text=True, check=True)
    assert said.stdout == "it's $HOME\n" and said.stderr == ""


def test_a_setup_that_fails_ends_the_job_before_its_command(tmp_path: Path) -> None:
    script = Script(["echo", "ran"], SlurmOptions(setup=("false",)), "job", tmp_path / "log.txt", tmp_path)
    said = subprocess.run(["bash", "-c", script.text()], capture_output=True, text=True, check=False)
    assert said.returncode == 1 and said.stdout == ""


def test_prepare_settings_come_back_from_json() -> None:
    config = PrepareConfig(Path("a.csv"), Path("b.store"), like=Path("c.store"), sets_3d=("usr",), mmff=5)
    plain = json.loads(json.dumps(config.settings() | {"source": "a.csv", "out": "b.store"}))
    assert PrepareConfig.from_plain(plain) == config


def test_a_file_with_a_mistake_submits_nothing(file: Path, tmp_path: Path) -> None:
    file.write_text("cpus = 1.5")
    work = Work(tmp_path / "work", 3, 1)
    with pytest.raises(ConfigError, match=r"cpus: got 1\.5"):
        run_on_cluster(PrepareConfig(Path("a.csv"), tmp_path / "b", slurm=ClusterFlags("slurm")), work, [0], lambda *_: None)
    assert not (work.folder / "jobs" / "job.sh").exists()
