"""Commands and what a notebook's reader tries out: notebooks as reports, the site, custom losses, provenance."""
