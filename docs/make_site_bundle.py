"""Writes the charting library of the site, jobs/site/static/vendor/vega.bundle.js, and says what is in that folder.

    python docs/make_site_bundle.py

vl-convert carries Vega, Vega-Lite and Vega-Embed and makes one script of them, without a network. Run it again when
Altair's version of Vega-Lite changes. Tabulator comes from npm: `npm pack tabulator-tables@6.5.3`, its files
dist/js/tabulator.min.js and dist/css/tabulator_simple.min.css, without the line that names a source map.
"""

from __future__ import annotations

from pathlib import Path

import vl_convert

VENDOR = Path(__file__).resolve().parents[1] / "jobs/site/static/vendor"


def main() -> None:
    """Write the script; a page loads it as a classic one, so nothing of it may be global."""
    bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    (VENDOR / "vega.bundle.js").write_text(f"(()=>{{{bundle}\n}})();\n", encoding="utf-8")
    (VENDOR / "VERSIONS.txt").write_text(
        "tabulator-tables 6.5.3 (MIT, LICENSE.tabulator.txt)\n"
        f"vega {vl_convert.get_vega_version()}, vega-lite {vl_convert.get_vegalite_versions()[-1]}, vega-embed "
        f"{vl_convert.get_vega_embed_version()} (BSD-3-Clause, LICENSE.vega.txt), in one script by "
        "docs/make_site_bundle.py\n",
        encoding="utf-8",
    )


if __name__ == "__main__":
    main()
