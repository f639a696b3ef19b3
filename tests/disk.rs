//! A full disk: the old version stays as it is, and with room again the next run finishes.

use std::process::Command;

use tempfile::TempDir;

use crate::support::{at_rest, config, contents, pipeline, succeed};

#[test]
fn a_full_disk_leaves_the_old_version_readable() {
    let folder = TempDir::new().expect("a folder");
    let root = folder.path().join("data");
    let expected = folder.path().join("expected");
    let first = config(&root, 24, 1);
    let second = config(&root, 200, 2);

    // Undisturbed, for comparison: the same two worlds, one after the other.
    succeed(&mut pipeline(&first));
    succeed(&mut pipeline(&second));
    std::fs::rename(&root, &expected).expect("movable");
    let expected = contents(&expected);
    std::fs::create_dir(&root).expect("writable");

    // A file system of its own in a mount namespace of its own, with some room beside the first world.
    let script = r#"
        set -eu
        mount -t tmpfs -o size=64m tmpfs "$ROOT"
        "$QUERENT" run "$FIRST" --quiet >/dev/null
        used=$(df --output=used -k "$ROOT" | tail -1)
        mount -o remount,size=$((used + ROOM_KB))k "$ROOT"
        # Per dataset: its versions, and what a plain glob reads.
        glob() { for d in "$ROOT"/*/; do echo "$d $(ls "$d/_delta_log" | wc -l) $(find "$d" -name '*.parquet' -not -path '*/_delta_log/*' | sort | xargs cat | sha256sum)"; done; }
        glob >"$ERRORS.before"
        code=0; "$QUERENT" run "$SECOND" --quiet >/dev/null 2>"$ERRORS" || code=$?
        test "$code" = 1 || { echo "expected exit code 1, got $code"; cat "$ERRORS"; exit 9; }
        grep -qi "no space left" "$ERRORS" || { echo "expected 'no space left'"; cat "$ERRORS"; exit 9; }
        for name in events truth news clean_events profiles statistics; do
            "$QUERENT" inspect "$name" --data "$ROOT" --verify >/dev/null
        done
        # What has no new version reads as before; at least the last datasets have none.
        glob >"$ERRORS.after"
        same=0
        while read -r name versions hash rest && read -r _ new_versions new_hash rest <&3; do
            if [ "$versions" = "$new_versions" ]; then
                same=$((same + 1))
                [ "$hash" = "$new_hash" ] || { echo "$name: a plain glob reads something else"; exit 9; }
            fi
        done <"$ERRORS.before" 3<"$ERRORS.after"
        test "$same" -ge 4 || { echo "only $same datasets kept their version"; exit 9; }
        mount -o remount,size=64m "$ROOT"
        "$QUERENT" run "$SECOND" --quiet >/dev/null
        cp -r "$ROOT" "$RESULT"
    "#;
    let result = folder.path().join("result");
    let output = Command::new("unshare")
        .args(["--map-root-user", "--mount", "sh", "-c", script])
        .env("QUERENT", env!("CARGO_BIN_EXE_querent"))
        .env("QUERENT_USER_KEY", crate::support::KEY)
        .env("ROOT", &root)
        .env("FIRST", &first)
        .env("SECOND", &second)
        .env("ERRORS", folder.path().join("errors"))
        .env("ROOM_KB", "300")
        .env("RESULT", &result)
        .output()
        .expect("this test needs `unshare` of util-linux: apt-get install util-linux");
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(
        output.status.success(),
        "{said}\n(if unshare was not permitted: this test needs user namespaces, sysctl kernel.unprivileged_userns_clone=1)"
    );
    at_rest(&result);
    assert_eq!(contents(&result), expected);
}
