//! What holds for every subcommand.

use crate::run::portcullis;

#[test]
fn help_names_every_subcommand_and_exit_code() {
    let run = portcullis(["--help"]);
    assert_eq!(run.code, 0, "{run:#?}");
    for word in [
        "canary",
        "completions",
        "config",
        "drift",
        "verify-gateway",
        "--format",
        "Exit codes:",
        "  3  ",
    ] {
        assert!(run.stdout.contains(word), "{word}: {run:#?}");
    }
}

#[test]
fn a_wrong_command_line_is_2() {
    for arguments in [
        vec![],
        vec!["no-such-thing"],
        vec!["completions"],
        vec!["completions", "bash", "--format", "xml"],
    ] {
        let run = portcullis(&arguments);
        assert_eq!(run.code, 2, "{arguments:?}: {run:#?}");
        assert_eq!(run.stdout, "");
        assert!(run.stderr.contains("--help"), "{run:#?}");
    }
}

#[test]
fn shells_complete_command_lines() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let run = portcullis(["completions", shell]);
        assert_eq!(run.code, 0, "{run:#?}");
        assert!(run.stdout.contains("completions"), "{shell}");
        let json = portcullis(["completions", shell, "--format", "json"]).json();
        assert_eq!(json["script"], run.stdout, "{shell}");
    }
}
