use super::*;
use crate::engine::testing::Rig;
use lodestone_state::traits::TraitState;

/// T-58, P-28: what is wrong is found, told and put right; what is right is left alone.
#[test]
fn p28_t58_a_wrong_value_is_found_and_put_right() {
    let rig = Rig::new();
    for user in ["ada", "bob", "cy"] {
        for _ in 0..3 {
            rig.view(user);
        }
    }
    let plan = rig.engine.plan();
    let (views, viewers) = (plan.trait_by_key("views").expect("a trait"), plan.audience_by_key("viewers").expect("an audience"));
    let refresh = |kind, id| rig.engine.refresh(kind, id).expect("alone").expect("in force");
    let fine = Refreshed { profiles: 3, drift: 0 };
    assert_eq!(refresh(Kind::ComputedTrait, views.id), fine);
    assert_eq!(refresh(Kind::Audience, viewers.id), fine);

    let corrupt = |user: &str| {
        let shared = rig.engine.store.find(user).expect("a profile");
        let mut profile = shared.lock();
        profile.core.traits.get_mut(views.slot.0).expect("a cell").state = TraitState::default();
        profile.core.audiences.get_mut(viewers.slot.0).expect("a cell").since = None;
        profile.core.id
    };
    let value = |user: &str| {
        let shared = rig.engine.store.find(user).expect("a profile");
        let profile = shared.lock();
        (
            machine::trait_value(&plan, &profile, views.slot).map(|value| value.to_json()),
            profile.member_since(viewers.slot).is_some(),
        )
    };
    let right = (Some(serde_json::json!(3)), true);
    corrupt("bob");
    assert_ne!(value("bob"), right);
    assert_eq!(refresh(Kind::ComputedTrait, views.id), Refreshed { profiles: 3, drift: 1 });
    assert_eq!(value("bob"), right);
    assert_eq!(refresh(Kind::Audience, viewers.id), fine);

    let id = corrupt("cy");
    assert_eq!(rig.engine.refresh_profile(id), Some(Refreshed { profiles: 1, drift: 2 }));
    assert_eq!(rig.engine.refresh_profile(id), Some(Refreshed { profiles: 1, drift: 0 }));
    assert_eq!(value("cy"), right);

    assert_eq!(rig.engine.refresh(Kind::Action, views.id), Ok(None));
    assert_eq!(rig.engine.refresh(Kind::Audience, views.id), Ok(None));
    let _busy = rig.engine.refresh_gate.lock();
    assert_eq!(rig.engine.refresh(Kind::ComputedTrait, views.id), Err(Busy));
}
