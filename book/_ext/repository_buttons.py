"""Leave out the buttons that need a repository while there is none.

The theme stumbles over an empty `repository_url` in _config.yml.
"""


def leave_out(app, config):
    options = config.html_theme_options
    if not options.get("repository_url"):
        for name in ("use_repository_button", "launch_buttons"):
            options.pop(name, None)


def setup(app):
    app.connect("config-inited", leave_out)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
