"""The commands and their options. What a command does is imported when it runs: --help stays quick."""

from typing import Annotated, Any

import typer

from lcdoc.cli import options
from lcdoc.cli.bench import WHATS, bench_command
from lcdoc.cli.bench_gpu import bench_gpu_command
from lcdoc.cli.bench_kernels import bench_kernels_command
from lcdoc.cli.bench_stream import bench_stream_command
from lcdoc.cli.budget import budget_command
from lcdoc.cli.calibrate import calibrate_command
from lcdoc.cli.citations import citations_command
from lcdoc.cli.context import context_command
from lcdoc.cli.diff import diff_command
from lcdoc.cli.extend import extend_command
from lcdoc.cli.needle import needle_command
from lcdoc.cli.perplexity import perplexity_command
from lcdoc.cli.plan import plan_command
from lcdoc.cli.plot import plot_command
from lcdoc.cli.qa import qa_command
from lcdoc.cli.ranking import ranking_command
from lcdoc.cli.reading import answering
from lcdoc.cli.ruler import ruler_command
from lcdoc.cli.selftest import selftest_command
from lcdoc.cli.store import STORE_COMMANDS, STORE_HELP
from lcdoc.cli.stream import stream_command
from lcdoc.cli.stream_perplexity import stream_perplexity_command
from lcdoc.cli.stream_recall import stream_recall_command
from lcdoc.cli.summarize import summarize_command
from lcdoc.cli.verify import verify_command
from lcdoc.config import Settings
from lcdoc.errors import UsageError

PLAIN: dict[str, Any] = {
    "rich_markup_mode": None,
    "pretty_exceptions_enable": False,
    "context_settings": {"help_option_names": ["-h", "--help"]},
}
app = typer.Typer(help="Ask anything of a document of any length, on your own machine.", **PLAIN)
models_app = typer.Typer(help="Get, list and remove models.", **PLAIN)
profiles_app = typer.Typer(help="Look at head profiles.", **PLAIN)
store_app = typer.Typer(help=STORE_HELP, **PLAIN)
config_app = typer.Typer(help="Look at the settings.", **PLAIN)
bench_app = typer.Typer(help="Measure speed and memory.", **PLAIN)
eval_app = typer.Typer(help="Measure what is found in long documents.", **PLAIN)


def _print_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"lcdoc {version('lcdoc')}")
        raise typer.Exit


@app.callback()
def lcdoc(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    pass


@app.command("ask")
@answering
def ask_command(
    settings: Settings,
    words: Annotated[
        list[str],
        typer.Argument(metavar="FILE", help="Documents (- is stdin), then the question."),
    ],
    question: Annotated[
        list[str] | None, typer.Option("-q", "--question", help="One more question; repeat for several.")
    ] = None,
    questions: Annotated[
        str | None, typer.Option(metavar="FILE", help="A file of questions, one a line; - is stdin.")
    ] = None,
    pages: options.Pages = None,
    password: options.Password = None,
    no_cite: options.NoCite = False,
    strict: options.Strict = False,
    markdown: options.Markdown = False,
    json: options.Json = False,
    jsonl: options.Jsonl = False,
) -> int:
    """Answer questions from whole documents; with no question on a terminal, chat."""
    from lcdoc.cli.ask import Request, ask
    from lcdoc.cli.questions import checked_questions, read_questions, split_words
    from lcdoc.documents.source import STDIN

    if json + jsonl + markdown > 1:
        raise UsageError("--json, --jsonl and --markdown exclude each other; choose one")
    documents, last_word = split_words(words, questions_given=bool(question or questions))
    if questions == STDIN and STDIN in documents:
        raise UsageError("stdin (-) is the document and the questions; name one of them as a file")
    asked = [] if last_word is None else [last_word]
    asked += question or []
    asked += read_questions(questions) if questions else []
    form = "json" if json else "jsonl" if jsonl else "markdown" if markdown else "text"
    request = Request(
        documents, checked_questions(asked), settings, pages, password, form, not no_cite, strict
    )
    return ask(request)


@app.command("inspect")
def inspect_command(
    files: options.Files,
    model: options.Model = None,
    pages: options.Pages = None,
    password: options.Password = None,
    json: options.Json = False,
    quiet: options.Quiet = False,
    no_color: options.NoColor = False,
) -> int:
    """Show pages, tokens, scans and warnings, and whether the model can read it all."""
    from lcdoc.cli.inspect import inspect
    from lcdoc.documents.source import expand_sources

    settings = options.settings_of(quiet=quiet, no_color=no_color, model=model)
    return inspect(expand_sources(files), settings, pages, password, json)


@app.command("doctor")
def doctor_command(json: options.Json = False) -> int:
    """Check this machine: versions, devices, memory, model, settings, folders."""
    from lcdoc.cli.doctor import doctor

    return doctor(json)


@models_app.command("pull")
def models_pull(
    name: Annotated[str | None, typer.Argument(help="A hub id; left out, the default model.")] = None,
) -> None:
    """Download a model. The only command that uses the network."""
    from lcdoc.cli.models import pull_model

    pull_model(name)


@models_app.command("list")
def models_list() -> None:
    """List the models known by name and those on this machine."""
    from lcdoc.cli.models import print_models

    print_models()


@models_app.command("show")
def models_show(name: Annotated[str, typer.Argument(help="A name from the list.")]) -> None:
    """Show one model's source, license, size and folders."""
    from lcdoc.cli.models import print_model

    print_model(name)


@models_app.command("remove")
def models_remove(name: Annotated[str, typer.Argument(help="A name from the list.")]) -> None:
    """Delete a model's files from this machine."""
    from lcdoc.cli.models import remove_model

    remove_model(name)


@profiles_app.command("list")
def profiles_list() -> None:
    """List the shipped head profiles."""
    from lcdoc.cli.profiles import print_profiles

    print_profiles()


@profiles_app.command("show")
def profiles_show(name: Annotated[str, typer.Argument(help="A shipped name or a YAML file.")]) -> None:
    """Show a profile's sizes, source and gates."""
    from lcdoc.cli.profiles import print_profile

    print_profile(name)


@config_app.command("show")
def config_show(
    origin: Annotated[bool, typer.Option("--origin", help="Also say where each value came from.")] = False,
) -> None:
    """Show every setting as it stands here."""
    from lcdoc.cli.settings import print_settings

    print_settings(origin)


@config_app.command("path")
def config_path() -> None:
    """Show the config files, the stronger first."""
    from lcdoc.cli.settings import print_paths

    print_paths()


app.command("summarize")(summarize_command)
app.command("stream")(stream_command)
app.command("plan")(plan_command)
app.command("diff")(diff_command)
app.command("verify")(verify_command)
app.command("selftest")(selftest_command)
app.command("calibrate")(calibrate_command)
app.command("extend")(extend_command)
for what, summary in WHATS.items():
    bench_app.command(what, help=summary)(bench_command(what))
bench_app.command("budget")(budget_command)
bench_app.command("kernels")(bench_kernels_command)
bench_app.command("gpu")(bench_gpu_command)
bench_app.command("stream")(bench_stream_command)
eval_app.command("citations")(citations_command)
eval_app.command("context")(context_command)
eval_app.command("needle")(needle_command)
eval_app.command("perplexity")(perplexity_command)
eval_app.command("qa")(qa_command)
eval_app.command("ranking")(ranking_command)
eval_app.command("ruler")(ruler_command)
eval_app.command("stream")(stream_recall_command)
eval_app.command("stream-perplexity")(stream_perplexity_command)
eval_app.command("plot")(plot_command)
for name, command in STORE_COMMANDS.items():
    store_app.command(name)(command)
app.add_typer(bench_app, name="bench")
app.add_typer(eval_app, name="eval")
app.add_typer(models_app, name="models")
app.add_typer(profiles_app, name="profiles")
app.add_typer(store_app, name="store")
app.add_typer(config_app, name="config")
