"""Print .env.example from the settings: python tools/env_example.py > .env.example."""

from enum import Enum

from adapters.cli import platforms
from bot.settings import Settings

HEAD = """\
# Easel's settings. Copy this file to .env and remove the # to change a value; the environment overrides this file.
# The value after = is the default.
"""
GROUPS = {
    "model": "Drawing",
    "proxy": "Network of the chat platforms",
    "engine": "Device",
    "log_format": "Log",
}
BEYOND = """\

## Other variables
# Folder with one file per setting, named like it in lower case (Docker secrets, systemd credentials); read from the environment only.
#EASEL_SECRETS_DIR=
# Another hub to download models from, such as a mirror.
#HF_ENDPOINT=
# Your token for the hub, for models that need one.
#HF_TOKEN=
# Cache folder of the hub's own library.
#HF_HOME=
"""


def shown(default):
    """Return a default as it is written in the file."""
    if default is None or default == ():
        return ""
    if isinstance(default, tuple):
        return ",".join(default)
    return str(default.value if isinstance(default, Enum) else default)


def show(kind, titles):
    """Print the settings of one class; ``titles`` stand above the field that they name."""
    for name, field in kind.model_fields.items():
        if name in titles:
            print(f"\n## {titles[name]}")
        print(f"# {field.description}")
        print(f"#{kind.variable(name)}={shown(field.default)}")


def main():
    """Print the whole file: the core's settings, then each platform's."""
    print(HEAD, end="")
    show(Settings, GROUPS)
    for platform in platforms.all_platforms():
        show(platform.settings, {next(iter(platform.settings.model_fields)): platform.title})
    print(BEYOND, end="")


if __name__ == "__main__":
    main()
