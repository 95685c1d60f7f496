"""The screen: what is heard scrolls by above, the line being typed stays below.

Knows keys and windows; what a line means and where it goes is not decided here.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Any

from prompt_toolkit.application import Application
from prompt_toolkit.buffer import Buffer
from prompt_toolkit.filters import Condition, has_completions
from prompt_toolkit.formatted_text import FormattedText
from prompt_toolkit.history import History
from prompt_toolkit.input import Input
from prompt_toolkit.key_binding import KeyBindings
from prompt_toolkit.key_binding.key_processor import KeyPressEvent
from prompt_toolkit.keys import Keys
from prompt_toolkit.layout import (
    BufferControl,
    ConditionalContainer,
    Dimension,
    FormattedTextControl,
    HSplit,
    Layout,
    Window,
)
from prompt_toolkit.layout.processors import BeforeInput
from prompt_toolkit.output import ColorDepth, Output
from prompt_toolkit.renderer import print_formatted_text
from prompt_toolkit.styles import Style
from wcwidth import clip

from gateway.chat.text import clean_line
from gateway.client import Chat, Refused
from gateway.tools.chat.asks import Ask, Asked, Leave, Refuse, Tell, said, understand
from gateway.tools.chat.look import STYLE, Fragments, Line, laid_out, told
from gateway.tools.chat.people import Words
from gateway.tools.chat.talk import MOST_ASKS, Talk

_PENDING_ROWS = 5
_MOST_PASTED = 200
_REFRESH_S = 1.0


class Screen:
    """One run of the terminal client."""

    def __init__(
        self,
        dial: Callable[[str], Chat],
        history: History,
        *,
        colours: bool = True,
        input: Input | None = None,
        output: Output | None = None,
    ) -> None:
        self._talk = Talk(dial, self._show, self._changed)
        self._lines: list[Line] = []
        self._printable = asyncio.Event()
        self._naming: asyncio.Future[str] | None = None
        self._suggestion = ""
        """The name of who types none."""
        self._pasted: list[Ask] = []
        """Lines that wait for a yes."""
        self._buffer = Buffer(history=history, completer=Words(self._talk.roster), multiline=False)
        self._style = Style.from_dict(STYLE)
        self._app: Application[None] = Application(
            layout=self._layout(),
            key_bindings=self._keys(),
            style=self._style,
            include_default_pygments_style=False,
            color_depth=None if colours else ColorDepth.DEPTH_1_BIT,
            erase_when_done=True,
            refresh_interval=_REFRESH_S,
            input=input,
            output=output,
        )

    async def run(self, name: str, suggestion: str) -> None:
        """Show and talk until the person leaves.  Without a name, ask for one.

        Raises what ``Chat`` raises, but for names: those are asked for again.
        """
        tasks: list[asyncio.Task[Any]] = [
            asyncio.create_task(self._app.run_async()),
            asyncio.create_task(self._talk_as(name, suggestion)),
            asyncio.create_task(self._print_forever()),
        ]
        showing, talking, _ = tasks
        try:
            await asyncio.wait({showing, talking}, return_when=asyncio.FIRST_COMPLETED)
            if not talking.done():
                await self._talk.leave()
                talking.cancel()
            elif self._app.is_running:
                self.leave()
            else:
                showing.cancel()
            with contextlib.suppress(EOFError, asyncio.CancelledError):
                await showing
            self._print()
            with contextlib.suppress(asyncio.CancelledError):
                await talking
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    def leave(self) -> None:
        """The person wants to go."""
        if self._app.is_running and not self._app.future.done():  # type: ignore[union-attr]
            self._app.exit()

    # Names.

    async def _talk_as(self, name: str, suggestion: str) -> None:
        while True:
            name = name or await self._ask_name(suggestion)
            try:
                return await self._talk.run(name)
            except Refused as error:
                if not error.code.startswith("name_"):
                    raise
                self._show(told([error.text]))
            name, suggestion = "", name

    async def _ask_name(self, suggestion: str) -> str:
        typed = self._buffer.text
        # In the question, not in the buffer: there, what is typed would be added to it.
        self._suggestion, self._buffer.text = suggestion, ""
        self._naming = asyncio.get_running_loop().create_future()
        self._changed()
        try:
            return await self._naming
        finally:
            self._naming = None
            self._buffer.text = typed

    # Lines.

    def _show(self, lines: list[Line]) -> None:
        self._lines += lines
        self._printable.set()

    def _changed(self) -> None:
        self._app.invalidate()

    async def _print_forever(self) -> None:
        """Print what is to be shown, as much at once as there is.

        Not by ``run_in_terminal``, which lets the terminal echo what is typed meanwhile.
        """
        while True:
            await self._printable.wait()
            self._printable.clear()
            if self._app.is_running:
                self._app.renderer.erase()
                self._print()
                self._app.invalidate()

    def _print(self) -> None:
        lines, self._lines = self._lines, []
        if not lines:
            return
        output = self._app.output
        columns = output.get_size().columns
        fragments: Fragments = []
        for line in lines:
            fragments += [*laid_out(line, columns), ("", "\n")]
        print_formatted_text(
            output, FormattedText(fragments), self._style, color_depth=self._app.color_depth
        )
        if any(line.calls for line in lines):
            output.bell()
            output.flush()

    # Windows.

    def _layout(self) -> Layout:
        def rows(text: Callable[[], Fragments], shown: Condition) -> ConditionalContainer:
            control = FormattedTextControl(text)  # type: ignore[arg-type]
            return ConditionalContainer(Window(control, dont_extend_height=True), shown)

        typing = Window(
            BufferControl(self._buffer, input_processors=[BeforeInput(self._prompt)]),  # type: ignore[arg-type]
            height=Dimension(min=1, max=8),
            wrap_lines=True,
            dont_extend_height=True,
        )
        status = Window(FormattedTextControl(self._status), height=1, style="class:status")
        return Layout(
            HSplit(
                [
                    rows(self._pending, Condition(lambda: bool(self._talk.pending))),
                    typing,
                    rows(self._choices, Condition(has_completions)),
                    rows(self._question, Condition(lambda: bool(self._pasted))),
                    status,
                ]
            ),
            focused_element=typing,
        )

    def _clipped(self, text: str) -> str:
        columns = self._app.output.get_size().columns - 1
        return clip(clean_line(text), 0, columns, control_codes="ignore")

    def _prompt(self) -> Fragments:
        if self._naming:
            return [("class:question", f"Enter your name [{clean_line(self._suggestion)}]: ")]
        return [("class:own", clean_line(self._talk.name)), ("", ": ")]

    def _pending(self) -> Fragments:
        pending = self._talk.pending
        shown = [self._clipped(line) for line in pending[:_PENDING_ROWS]]
        if len(pending) > _PENDING_ROWS:
            shown.append(f"… and {len(pending) - _PENDING_ROWS} more")
        return [("class:pending", "\n".join(shown))]

    def _choices(self) -> Fragments:
        state = self._buffer.complete_state
        if state is None:
            return []
        shown: Fragments = []
        # From the chosen one on: it is always to be seen.
        first = max(state.complete_index or 0, 0)
        for index, choice in enumerate(state.completions[first:], first):
            chosen = index == state.complete_index
            text = clean_line(choice.display_text)
            shown += [("class:chosen" if chosen else "", text), ("", "  ")]
            if len(shown) > 100:
                break
        return shown

    def _question(self) -> Fragments:
        count = len(self._pasted)
        question = f"say these {count} lines? y: yes  o: as one line  any other key: no"
        return [("class:question", self._clipped(question))]

    def _status(self) -> str:
        return self._clipped(f" {self._talk.status}")

    # Keys.

    def _keys(self) -> KeyBindings:
        keys = KeyBindings()
        asked = Condition(lambda: bool(self._pasted))
        empty = Condition(lambda: not self._buffer.text)

        keys.add("enter", filter=~asked)(self._entered)
        keys.add(Keys.BracketedPaste, filter=~asked)(self._paste)
        keys.add("y", filter=asked, eager=True)(lambda _: self._answer(self._pasted))
        keys.add("o", filter=asked, eager=True)(lambda _: self._as_one_line())
        # Not eager: the terminal's own reports are keys, too, and have their bindings.
        keys.add(Keys.Any, filter=asked)(lambda _: self._answer([]))
        keys.add("escape", filter=asked, eager=True)(lambda _: self._answer([]))
        keys.add("enter", filter=asked, eager=True)(lambda _: self._answer([]))
        keys.add("c-d", filter=empty)(lambda _: self.leave())
        keys.add("c-c", filter=empty & ~asked)(lambda _: self.leave())
        keys.add("c-c", filter=~empty & ~asked)(lambda _: self._buffer.reset())
        keys.add("<sigint>")(lambda _: self.leave())
        keys.add("c-z")(lambda event: event.app.suspend_to_background())
        return keys

    def _entered(self, _event: KeyPressEvent) -> None:
        text = self._buffer.text
        if self._naming:
            name = text.strip() or self._suggestion
            if name and not self._naming.done():
                self._naming.set_result(name)
            return
        asked = understand(text)
        if asked is None or self._do(asked):
            with contextlib.suppress(OSError):
                self._buffer.append_to_history()
            self._buffer.reset()

    def _do(self, asked: Asked) -> bool:
        """Do it; False if that is not possible now."""
        match asked:
            case Tell(lines):
                self._show(told([*lines]))
            case Refuse(why):
                self._show(told([why]))
            case Leave():
                self.leave()
            case Ask() if not self._talk.submit(asked):
                self._show(told([f"{MOST_ASKS} lines wait already, please try again later"]))
                return False
        self._changed()
        return True

    def _paste(self, event: KeyPressEvent) -> None:
        lines = event.data.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        if self._naming or len(lines) == 1 or (len(lines) == 2 and not lines[1]):
            self._buffer.insert_text(clean_line(lines[0]))
            return
        document = self._buffer.document
        lines[0] = document.text_before_cursor + lines[0]
        lines[-1] += document.text_after_cursor
        pasted = [ask for line in lines if (ask := said(line))]
        if len(pasted) > _MOST_PASTED:
            self._show(told([f"{len(pasted)} lines are too many, nothing was said"]))
            return
        self._pasted = pasted

    def _answer(self, lines: list[Ask]) -> None:
        self._pasted = []
        if lines:
            self._buffer.reset()
        for line in lines:
            self._do(line)

    def _as_one_line(self) -> None:
        text = " ".join(str(ask.fields["text"]).strip() for ask in self._pasted)
        self._pasted = []
        self._buffer.text = text
        self._buffer.cursor_position = len(text)
