"""Print .env.example from the settings: python tools/env_example.py > .env.example."""

from enum import Enum

from bot.settings import Settings

HEAD = """\
# Easel's settings. Copy this file to .env and take the # away where you want another value; the environment wins over it.
# What stands behind = is the default.
"""
GROUPS = (
    ("model", "Drawing"),
    ("discord_token", "Discord"),
    ("telegram_token", "Telegram"),
    ("proxy", "Network of the chat platforms"),
    ("web_host", "Page"),
    ("engine", "Device"),
    ("log_format", "Log"),
)
BEYOND = """\

## Beside the settings above
# Folder with one file a setting, named like it in lower case (Docker secrets, systemd credentials); read from the environment alone.
#EASEL_SECRETS_DIR=
# Another hub to download models from, such as a mirror.
#HF_ENDPOINT=
# Your token of the hub, for models that ask for one.
#HF_TOKEN=
# Where the hub's own library keeps its cache.
#HF_HOME=
"""


def shown(default):
    """Return a default as it is written in the file."""
    if default is None or default == ():
        return ""
    if isinstance(default, tuple):
        return ",".join(default)
    return str(default.value if isinstance(default, Enum) else default)


def main():
    """Print the whole file."""
    titles = dict(GROUPS)
    print(HEAD, end="")
    for name, field in Settings.model_fields.items():
        if name in titles:
            print(f"\n## {titles[name]}")
        print(f"# {field.description}")
        print(f"#EASEL_{name.upper()}={shown(field.default)}")
    print(BEYOND, end="")


if __name__ == "__main__":
    main()
