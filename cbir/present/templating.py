"""The one Jinja environment of all pages: every value is escaped, an unknown name is an error."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import jinja2


@functools.cache
def environment() -> jinja2.Environment:
    """The environment that finds the templates of this package.

    A report of its own extends `base.html.j2` and fills the blocks title, head, navigation, main
    and footer. The base forbids scripts and every request but for `data:` pictures.
    """
    import jinja2

    return jinja2.Environment(
        loader=jinja2.PackageLoader("cbir.present", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def render(template: str, **values: Any) -> str:
    """The template of this name, filled with `values`, every text escaped for HTML."""
    return environment().get_template(template).render(**values)
