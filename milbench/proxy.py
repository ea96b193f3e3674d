"""`milbench proxy`: one process that holds a study's database, for workers that reach it by grpc://HOST:PORT."""

import logging
from dataclasses import dataclass
from pathlib import Path

from milbench.data_commands import Said
from milbench.errors import ConfigError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ProxyConfig:
    """Serve a study's database to workers that name it as --storage grpc://HOST:PORT, until Ctrl-C. There is no password:
    whoever reaches the port can change the study.
    """

    storage: str
    """The database: sqlite:///PATH or postgresql://USER@HOST/NAME."""
    host: str = "127.0.0.1"
    """Where it listens; the default is reached from this machine alone."""
    port: int = 13000
    """Port it listens on."""


def run_proxy(config: ProxyConfig) -> Said:
    """Serve until interrupted."""
    import grpc  # noqa: F401  # said to be missing here, not in the middle of Optuna
    import optuna

    from milbench.storage_url import journal_path
    from milbench.training.storage import experimental, open_storage

    if journal_path(config.storage) is not None or config.storage.startswith("grpc://"):
        raise ConfigError(
            "--storage", "cannot be served", got=config.storage, want="sqlite:///PATH or postgresql://USER@HOST/NAME"
        )
    storage = open_storage(Path(), config.storage)
    log.info("proxy: --storage grpc://%s:%d, until Ctrl-C", config.host, config.port)
    with experimental():
        optuna.storages.run_grpc_proxy_server(storage, host=config.host, port=config.port)
    return [], 0
