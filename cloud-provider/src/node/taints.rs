//! The taints that the controllers read and write.

use crate::cluster::objects::{Node, Taint};

/// Set by a kubelet with `--cloud-provider=external`; taken away when the node is initialised. Matched by key alone.
pub const UNINITIALIZED: &str = "node.cloudprovider.kubernetes.io/uninitialized";
/// On nodes whose instance is stopped.
pub const SHUTDOWN: &str = "node.cloudprovider.kubernetes.io/shutdown";
/// Set by the cluster autoscaler on a node that it is about to remove.
pub const TO_BE_DELETED: &str = "ToBeDeletedByClusterAutoscaler";

/// The shutdown taint, as it is written.
pub fn shutdown() -> Taint {
    Taint { key: SHUTDOWN.into(), effect: "NoSchedule".into(), ..Taint::default() }
}

/// Whether the node still waits for its initialisation.
pub fn is_uninitialized(node: &Node) -> bool {
    node.spec.taints.iter().any(|taint| taint.key == UNINITIALIZED)
}

/// The taints without those that mark a node as uninitialised, whatever their value and effect.
pub fn without_uninitialized(taints: &[Taint]) -> Vec<Taint> {
    taints.iter().filter(|taint| taint.key != UNINITIALIZED).cloned().collect()
}

/// Whether the list has a taint with the same key and effect; the value does not matter.
pub fn has(taints: &[Taint], taint: &Taint) -> bool {
    taints.iter().any(|other| other.key == taint.key && other.effect == taint.effect)
}

/// The list with `taint`: in the place of one with the same key and effect, else at the end.
pub fn with(taints: &[Taint], taint: &Taint) -> Vec<Taint> {
    let mut taints = taints.to_vec();
    match taints.iter_mut().find(|other| other.key == taint.key && other.effect == taint.effect) {
        Some(other) if other.value.as_deref().unwrap_or_default() == taint.value.as_deref().unwrap_or_default() => {}
        Some(other) => *other = taint.clone(),
        None => taints.push(taint.clone()),
    }
    taints
}

/// The list without taints of the same key and effect.
pub fn without(taints: &[Taint], taint: &Taint) -> Vec<Taint> {
    taints.iter().filter(|other| other.key != taint.key || other.effect != taint.effect).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taint(key: &str, effect: &str) -> Taint {
        Taint { key: key.into(), effect: effect.into(), ..Taint::default() }
    }

    #[test]
    fn section_12_7_taints() {
        let list = [Taint { value: Some("bar_1".into()), ..taint("foo_1", "NoExecute") }, taint("foo_2", "NoSchedule")];
        assert!(has(&list, &taint("foo_1", "NoExecute")));
        assert!(!has(&list, &taint("foo_3", "NoExecute")));
        assert!(!has(&list, &taint("foo_1", "NoSchedule")));
        assert_eq!(without(&list, &taint("foo_1", "NoSchedule")).len(), 2);
        assert_eq!(without(&list, &taint("foo_1", "NoExecute")), [taint("foo_2", "NoSchedule")]);
        assert!(without(&[], &taint("foo", "NoExecute")).is_empty());
    }

    #[test]
    fn a_taint_with_another_value_is_replaced_in_place() {
        let list = [Taint { value: Some("old".into()), ..shutdown() }, taint("other", "NoSchedule")];
        assert_eq!(with(&list, &shutdown()), [shutdown(), taint("other", "NoSchedule")]);
        assert_eq!(with(&[], &shutdown()), [shutdown()]);
    }

    #[test]
    fn every_form_of_the_uninitialized_taint_goes() {
        let list = [taint(UNINITIALIZED, "NoExecute"), taint("c", "NoSchedule"), taint(UNINITIALIZED, "NoSchedule")];
        assert_eq!(without_uninitialized(&list), [taint("c", "NoSchedule")]);
    }
}
