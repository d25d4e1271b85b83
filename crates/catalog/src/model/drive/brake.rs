//! The brake is set and released.

use super::Drive;
use crate::BrakeSettings;

impl Drive {
    pub(super) async fn brake(&mut self, what: u8) {
        if what < 150 {
            let floor = u64::from(what % 6);
            self.model.set_brake(floor);
            let settings = BrakeSettings { share_ppm: 0, floor, clients: false };
            return self.w.catalog.set_brake(settings).await.unwrap();
        }
        self.model.release_brake();
        let change = self.w.ids.change();
        for _ in 0..2 {
            self.w.catalog.release_brake(change).await.unwrap();
        }
    }

    pub(super) async fn compare_brake(&self) {
        let state = self.w.catalog.brake().await.unwrap();
        let expected = &self.model.braking;
        assert_eq!((state.engaged_at.is_some(), state.doomed_in_hour), (expected.engaged, expected.counted));
    }
}
