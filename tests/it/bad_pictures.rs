//! Pictures that are damaged, hostile or out of reach: one sentence each, from
//! every command that reads pictures.

use std::path::Path;
use std::process::Command;

use crate::bad_models::limited;
use crate::common::{Dir, counter_model, fails, heatcast, text};
use crate::pictures::write_number;

/// CRC-32 as PNG has it.
fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0u32, |crc, b| {
        (0..8).fold(
            crc ^ u32::from(*b),
            |c, _| if c & 1 == 1 { 0xedb8_8320 ^ (c >> 1) } else { c >> 1 },
        )
    })
}

/// A PNG file that claims this size, bits and colour type, whatever it holds.
fn png(width: u32, height: u32, bits: u8, colour: u8) -> Vec<u8> {
    let chunk = |kind: &[u8], data: &[u8]| {
        let body = [kind, data].concat();
        let length = (data.len() as u32).to_be_bytes();
        [&length[..], &body, &crc(&body).to_be_bytes()].concat()
    };
    let header =
        [&width.to_be_bytes()[..], &height.to_be_bytes(), &[bits, colour, 0, 0, 0]].concat();
    // An empty stream of zlib.
    let nothing = [0x78, 0x9c, 0x03, 0, 0, 0, 0, 1];
    [
        b"\x89PNG\r\n\x1a\n".to_vec(),
        chunk(b"IHDR", &header),
        chunk(b"IDAT", &nothing),
        chunk(b"IEND", b""),
    ]
    .concat()
}

/// Every command that reads one picture.
fn readers(picture: &Path) -> [Command; 2] {
    let mut explain = heatcast(["explain", "-q", "--json", "--threads", "1", "--model"]);
    explain.arg(counter_model()).arg(picture);
    let mut check = heatcast(["model", "check"]);
    check.arg(counter_model()).arg("--image").arg(picture);
    [explain, check]
}

#[test]
fn pictures_of_a_claimed_size_take_no_memory_and_get_a_sentence() {
    let dir = Dir::new();
    for (name, picture, says) in [
        ("huge.png", png(100_000, 100_000, 8, 2), "huge.png is too large: 100000 x 100000 pixels"),
        ("long.png", png(2_000_000_000, 1, 8, 0), "long.png"),
        ("deep.png", png(9_900, 9_900, 16, 6), "deep.png takes more than 512 MB of memory"),
        ("flat.png", png(0, 40, 8, 2), "flat.png"),
        ("none.png", png(0, 0, 8, 2), "none.png"),
        ("short.png", png(64, 48, 8, 2), "short.png is damaged or cut off"),
        ("empty.png", Vec::new(), "empty.png is empty"),
    ] {
        let path = dir.path(name);
        std::fs::write(&path, picture).unwrap();
        for command in readers(&path) {
            fails(limited(&command, 2000), 1, &[says]);
        }
    }
    for command in readers(Path::new("/dev/zero")) {
        fails(limited(&command, 4000), 1, &["/dev/zero is too large for a picture"]);
    }
}

#[test]
fn eval_leaves_bad_pictures_out_and_names_them() {
    let dir = Dir::new();
    write_number(&dir.path("set/n001/a.png"), 1);
    write_number(&dir.path("set/n002/a.png"), 2);
    std::fs::write(dir.path("set/n002/bomb.png"), png(60_000, 60_000, 8, 2)).unwrap();
    let mut command = heatcast(["eval", "--threads", "1", "--faithfulness", "--model"]);
    command.arg(counter_model()).arg(dir.path("set"));
    let out = limited(&command, 2000).output().unwrap();
    let (said, result) = (text(&out.stderr), text(&out.stdout));
    assert!(out.status.success(), "{said}");
    assert!(said.contains("bomb.png is too large: 60000 x 60000 pixels"), "{said}");
    assert!(
        result.contains("2 (1 skipped)") && result.contains("faithfulness: 2 pictures"),
        "{result}"
    );
    std::fs::remove_file(dir.path("set/n001/a.png")).unwrap();
    std::fs::rename(dir.path("set/n002/bomb.png"), dir.path("set/n001/bomb.png")).unwrap();
    std::fs::remove_file(dir.path("set/n002/a.png")).unwrap();
    std::fs::write(dir.path("set/n002/b.png"), "no picture").unwrap();
    fails(limited(&command, 2000), 1, &["none of the 2 pictures can be read", "bomb.png"]);
}

/// The command as a user without rights; none where that cannot be had.
fn as_nobody(run: &Command) -> Option<Command> {
    let root = Command::new("id").arg("-u").output().is_ok_and(|o| o.stdout == b"0\n");
    let mut command = Command::new(if root { "setpriv" } else { "env" });
    if root {
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
    }
    command.arg(run.get_program()).args(run.get_args());
    command.current_dir(env!("CARGO_MANIFEST_DIR"));
    // The program itself must be within reach.
    let mut version = Command::new(command.get_program());
    let before = if root { 3 } else { 0 };
    version.args(command.get_args().take(before)).arg(run.get_program()).arg("--version");
    version.output().is_ok_and(|o| o.status.success()).then_some(command)
}

#[test]
fn files_and_folders_that_may_not_be_read_are_named() {
    use std::os::unix::fs::PermissionsExt;
    let dir = Dir::new();
    let allow = |path: &Path, mode: u32| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    allow(&dir.path("."), 0o755);
    let (secret, open) = (dir.path("set/n001/secret.png"), dir.path("set/n002/open.png"));
    write_number(&secret, 1);
    write_number(&open, 2);
    let model = dir.path("secret.onnx");
    std::fs::write(&model, "x").unwrap();
    allow(&secret, 0);
    allow(&model, 0);
    let explain = |paths: &[&Path], model: &Path| {
        let mut command = heatcast(["explain", "-q", "--json", "--threads", "1", "--model"]);
        command.arg(model).args(paths);
        command
    };
    let counter = counter_model();
    let Some(command) = as_nobody(&explain(&[&secret, &open], &counter)) else {
        eprintln!("skipped: there is no user without rights here who can run the program");
        return;
    };
    let done = "the other picture is done";
    fails(command, 1, &["secret.png cannot be read: Permission denied", done]);
    let refused = |command: Command, words: &[&str]| {
        fails(as_nobody(&command).unwrap(), 2, words);
    };
    refused(explain(&[&open], &model), &["cannot read", "secret.onnx", "Permission denied"]);
    allow(&dir.path("set/n001"), 0);
    refused(explain(&[&dir.path("set/n001")], &counter), &["cannot read", "n001", "may be read"]);
    let mut eval = heatcast(["eval", "-q", "--model"]);
    eval.arg(&counter).arg(dir.path("set"));
    refused(eval, &["cannot read", "n001", "may be read"]);
    allow(&dir.path("set/n001"), 0o755);
}
