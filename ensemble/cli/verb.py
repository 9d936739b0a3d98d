"""A verb of the command line: an option that takes one value is not given twice."""

from __future__ import annotations

from collections import Counter

import click


class Verb(click.Command):
    """Refuses an option that is there twice: the first value would be passed over in silence."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the arguments.

        Raises
        ------
        click.UsageError
            An option that takes one value is given several times.
        """
        # With "resilient parsing" a shell asks what may come next, and nobody runs anything.
        if not ctx.resilient_parsing and not {*ctx.help_option_names} & {*args}:
            self._refuse_repeated(ctx, list(args))
        return super().parse_args(ctx, args)

    def _refuse_repeated(self, ctx: click.Context, args: list[str]) -> None:
        _, _, order = self.make_parser(ctx).parse_args(args)
        for option, times in Counter(order).items():
            if isinstance(option, click.Option) and times > 1 and _takes_one(option):
                name = max(option.opts, key=len)
                raise click.UsageError(f"{name} is given {times} times: it takes one value", ctx)


def _takes_one(option: click.Option) -> bool:
    """Say whether another value would replace the first; ``--json --json`` says one thing."""
    has_two_sides = bool(option.secondary_opts)
    return not option.multiple and not option.count and (not option.is_flag or has_two_sides)


class Verbs(click.Group):
    """The command that verbs are registered with."""

    command_class = Verb
