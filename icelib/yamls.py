"""YAML in which nothing is guessed away: see `parse`."""

import functools

import yaml


@functools.lru_cache(maxsize=4)
def parse(text):
    """Parse plain YAML, the same text once: every look-up of a run reads the file, and parsing takes most of that.

    Parameters
    ----------
    text : str

    Returns
    -------
    object
        Not to be changed.

    Raises
    ------
    yaml.YAMLError, ValueError, RecursionError
        If it is not YAML, a key is given twice or is itself a mapping or a list, or a value is no such date.
    """
    return yaml.load(text, _Loader)


class _Loader(yaml.SafeLoader):
    """Plain YAML in which no key is given twice: the second value would silently win."""

    def compose_mapping_node(self, anchor):
        node, seen = super().compose_mapping_node(anchor), set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.composer.ComposerError(
                    None, None, "a key is a mapping or a list; expected a word", key.start_mark
                )
            if key.value in seen:
                raise yaml.composer.ComposerError(None, None, f"the key {key.value!r} is given twice", key.start_mark)
            seen.add(key.value)
        return node
