use anyhow::Result;
pub async fn run(_: &std::path::Path, _: testbed::Nodes) -> Result<()> {
    Ok(())
}
