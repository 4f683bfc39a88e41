#[derive(Clone, Debug)]
pub struct Handle;
#[derive(Debug)]
pub struct Stopped;
impl Handle {
    pub async fn submit(&self, _: Vec<crate::record::Record>) -> Result<(), Stopped> {
        Ok(())
    }
    pub async fn drain(&self) -> Result<(), Stopped> {
        Ok(())
    }
}
