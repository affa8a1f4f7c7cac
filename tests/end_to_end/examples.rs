//! Every manifest in `examples/` reaches the outcome that its first lines state.

use std::collections::BTreeSet;

use anyhow::{Context, Result};

use crate::outcomes::{OUTCOMES, check_outcomes, folder};
use crate::scene_on_any_node;

#[test]
fn every_example_has_an_outcome() -> Result<()> {
    let mut files = BTreeSet::new();
    for entry in std::fs::read_dir(folder())?.filter(|entry| entry.as_ref().is_ok_and(|entry| entry.path().is_file())) {
        let name = entry?.file_name().into_string().ok().context("the file name is not UTF-8")?;
        files.insert(name.trim_end_matches(".yaml").to_owned());
    }
    let rows: BTreeSet<_> = OUTCOMES.iter().map(|row| row.0.to_owned()).collect();
    assert_eq!(files, rows);
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn every_example_reaches_its_outcome() -> Result<()> {
    let Some(scene) = scene_on_any_node("examples", &["--pod-failure-backoff=1s"]).await? else { return Ok(()) };
    check_outcomes(&scene).await?;
    scene.cluster.delete_namespace(&scene.namespace).await
}
