"""A learner as the config asks for it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ensemble.config.plugin_files import short_name, short_names
from ensemble.config.secrets import resolved_secrets, with_secrets
from ensemble.errors import ConfigError, DataError, nearest
from ensemble.once import once
from ensemble.oof.kept import NOTHING_KEPT
from ensemble.plugin.contract import dependencies_of, teachers_of
from ensemble.plugin.manager import get_manager
from ensemble.plugin.parameters import build, path_parameters, placeless, plain_parameters
from ensemble.redact import without_secrets
from ensemble.storage.directories import hash_dependency
from ensemble.storage.hashing import canonical_json, fingerprint, hash_tree

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from ensemble.oof.kept import Kept
    from ensemble.plugin.base import BaseLearner


@dataclass(frozen=True)
class LearnerSpec:
    """A learner as the config asks for it.

    Parameters
    ----------
    name
        Name in the config and in the run directory.
    plugin
        Registered name of its plugin, or ``"file.py:Name"`` with the file's path.
    parameters
        As given in the config, defaults left out.
    base_directory
        Where relative paths among the parameters start.
    peers
        All learners of the config by name, among which its teachers are.
    seeds
        How often it is fitted, each time under another seed; its logits are their mean.
    kept
        Code of its plugin that counts as the code which made its folds: ``ensemble.oof.kept``.
    time_limit
        Seconds that one fold may take; None sets no limit.
    local
        Parameters with paths as they are on this machine, where the fit is on another than the
        config's.
    privileged
        Columns that this learner sees beside those of every learner. They do not exist at test
        time: it teaches and labels, and is neither stacked nor asked for test rows.
    """

    name: str
    plugin: str
    parameters: Mapping[str, Any]
    base_directory: Path
    peers: Mapping[str, LearnerSpec] = field(default_factory=dict, compare=False, repr=False)
    seeds: int = 1
    kept: Kept = field(default=NOTHING_KEPT, compare=False, repr=False)
    time_limit: float | None = field(default=None, compare=False)
    local: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)
    privileged: tuple[str, ...] = ()

    def make(self) -> BaseLearner:
        """Make an instance that is not fitted; secrets that are not set are masks in it.

        Raises
        ------
        UnknownNameError
            No such plugin.
        PluginError
            It cannot be imported.
        ConfigError
            Its parameters are wrong.
        """
        kind = get_manager().base_learners.get(self.plugin)
        here = {**self.parameters, **self.local}
        values = resolved_secrets(here, self.where, needed=False)
        return build(kind, values, where=self.where, anchor=self.base_directory)

    @cached_property
    def prototype(self) -> BaseLearner:
        """An instance that is never fitted, only asked what the learner is; errors as ``make``."""
        return self._asked[0]

    @cached_property
    def _asked(self) -> tuple[BaseLearner, dict[str, Any]]:
        """Give the prototype, and its parameters as they are before any code of it has run."""
        kind = get_manager().base_learners.get(self.plugin)
        try:
            settings = canonical_json([dict(self.parameters), dict(self.local)])
        except (TypeError, ValueError):  # no JSON: whoever makes it says what is wrong
            return self._newly_asked()
        return once((kind, self.base_directory, self.where, settings), self._newly_asked)

    def _newly_asked(self) -> tuple[BaseLearner, dict[str, Any]]:
        made = self.make()
        return made, plain_parameters(made)

    @property
    def where(self) -> str:
        """Name learner and plugin, for errors."""
        return f'learner "{self.name}", plugin "{self.plugin_name}"'

    @property
    def plugin_name(self) -> str:
        """Name the plugin wherever its file lies, as keys and manifests do."""
        return short_name(self.plugin)

    @cached_property
    def cache_name(self) -> str:
        """Name a directory for what the plugin keeps of single rows.

        The toolkit's own plugins share theirs: they name what they keep by all that it depends on.
        Of others nobody knows: with other code, parameters or files they have another one.
        """
        if get_manager().base_learners.entry(self.plugin).is_builtin:
            return self.plugin
        parts = {**self.key_parts(), "code": self.code()}
        del parts["seeds"]
        return re.sub(r"[^\w.-]+", "-", f"{self.plugin_name}-{fingerprint(parts)[:12]}")

    @property
    def reads_files(self) -> bool:
        """Whether it is the toolkit's own, and reads its predictions from files of this machine."""
        entry = get_manager().base_learners.entry(self.plugin)
        return entry.is_builtin and not type(self.prototype).trains

    def check_secrets(self) -> None:
        """See that its secrets are set, before it is put to work.

        Raises
        ------
        ConfigError
            A name is not set in the environment.
        """
        resolved_secrets(self.parameters, f'learner "{self.name}"')

    def settings(self) -> dict[str, Any]:
        """Say which plugin, code and version, which parameters, defaults included, and seeds.

        Paths are left out, and what else the learner names among its dependencies: their content
        counts, so that files can move, and a run to another machine.
        """
        learner = self.prototype
        return {
            "plugin": self.plugin_name,
            "code": self.kept.stands_for(self.code()),
            "version": type(learner).version,
            "parameters": placeless(
                learner, self.all_parameters(), dependencies_of(learner, self.where)
            ),
            "seeds": self.seeds,
        }

    def code(self) -> dict[str, Any]:
        """Name the plugin's code as it is now, as ``Registered.code`` does, and its secrets.

        Whether another secret gives other predictions nobody knows but the user, as of other code.
        """
        code = get_manager().base_learners.entry(self.plugin).code()
        return with_secrets(code, self.parameters)

    def all_parameters(self) -> dict[str, Any]:
        """Give all parameters but secrets, defaults included, as the config has them.

        Paths stand as they were given, but for those of plugin files: what these hold counts.
        """
        return dict(short_names(without_secrets(self._asked[1] | dict(self.parameters))))

    def key_parts(self) -> dict[str, Any]:
        """Say everything about the learner that its predictions depend on; files by content.

        A path among the parameters counts by what lies there, unless the learner says by that name
        among its dependencies what counts in its place.

        Raises
        ------
        DataError
            A file that the learner depends on cannot be read.
        """
        learner = self.prototype
        named = without_secrets(dependencies_of(learner, self.where))
        dependencies = {
            name: self._hash(value, hash_dependency) if isinstance(value, Path) else value
            for name, value in named.items()
        }
        files = {
            name: [self._hash(path, hash_tree) for path in paths]
            for name, paths in path_parameters(learner).items()
            if name not in named
        }
        return {**self.settings(), "dependencies": dependencies, "files": files}

    def teachers(self, pupils: tuple[str, ...] = ()) -> list[LearnerSpec]:
        """Find the learners that teach this one.

        Parameters
        ----------
        pupils
            Names of learners that this one teaches, down to the first that asked.

        Raises
        ------
        ConfigError
            A teacher is no learner of the config, is taught by its own pupil, or brings its
            predictions from outside, so that nobody knows what they have seen.
        """
        found = []
        for name in teachers_of(self.prototype, self.where):
            where = f'learner "{self.name}", parameter "teachers"'
            if name not in self.peers:
                hint = nearest(name, self.peers)
                raise ConfigError(f'no learner is called "{name}"', where=where, hint=hint)
            if name in (self.name, *pupils):
                raise ConfigError(f'"{name}" would teach itself', where=where)
            teacher = self.peers[name]
            if not teacher.prototype.trains:
                raise ConfigError(
                    f'"{name}" cannot teach: nobody knows which rows its predictions have seen',
                    where=where,
                    hint="let a learner teach that is fitted in this run",
                )
            teacher.teachers((self.name, *pupils))
            found.append(teacher)
        return found

    def _hash(self, path: Path, digest: Callable[[Path], str | None]) -> str | None:
        try:
            return digest(path)
        except OSError as error:
            raise DataError(
                f"a file that the learner needs cannot be read: {error.strerror}",
                where=f'learner "{self.name}", {path}',
                hint="see that it is there, and that you may read it",
            ) from error
