//! One thing of each node. A cluster has a handful, and most of a simulation's time would go into finding them in a
//! map.

use std::ops::Index;

use leadelect::NodeId;

#[derive(Debug, Clone)]
pub(crate) struct PerNode<T> {
    ids: Vec<NodeId>,
    values: Vec<T>,
}

impl<T> PerNode<T> {
    pub(crate) fn ids(&self) -> &[NodeId] {
        &self.ids
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&NodeId, &T)> {
        self.ids.iter().zip(&self.values)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.values.iter()
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.values.iter_mut()
    }

    pub(crate) fn get_mut(&mut self, id: &NodeId) -> Option<&mut T> {
        let place = self.place(id)?;
        Some(&mut self.values[place])
    }

    fn place(&self, id: &NodeId) -> Option<usize> {
        self.ids.iter().position(|known| known == id)
    }
}

/// In the order of the ids.
impl<T> FromIterator<(NodeId, T)> for PerNode<T> {
    fn from_iter<I: IntoIterator<Item = (NodeId, T)>>(pairs: I) -> Self {
        let mut pairs: Vec<(NodeId, T)> = pairs.into_iter().collect();
        pairs.sort_by_key(|(id, _)| *id);
        let (ids, values) = pairs.into_iter().unzip();
        PerNode { ids, values }
    }
}

impl<T> Index<&NodeId> for PerNode<T> {
    type Output = T;

    fn index(&self, id: &NodeId) -> &T {
        &self.values[self.place(id).expect("a node of the cluster")]
    }
}
