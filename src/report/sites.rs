//! Drills of many sites side by side: which image fails where.

use std::collections::BTreeMap;

use serde::Serialize;

use super::drill::{Forecast, Obstacle, Prospect};

/// The drills of several sites.
#[derive(Debug, Clone, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Sites {
    /// Each drill, in the order of the columns.
    pub sites: Vec<Site>,
    /// Each image that would not start at one of them, the worst first.
    pub images: Vec<AtSites>,
}

/// The drill of one site.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Site {
    /// Its name; with the registries that were lost where two are of the same site.
    pub name: String,
    /// When the drill was made.
    pub at: String,
    /// The registries that were taken to be lost.
    pub lost: Vec<String>,
    /// How many workloads were looked at.
    pub total: usize,
    /// How many of them would start.
    pub start: usize,
}

/// An image at all sites.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct AtSites {
    /// The image as workloads write it.
    pub image: String,
    /// For each site, in their order. Not given: no workload uses it there.
    pub cells: Vec<Option<Cell>>,
}

/// An image at a site.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Cell {
    /// The worst that becomes of it.
    pub prospect: Prospect,
    /// What hinders it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub obstacle: Option<Obstacle>,
}

/// Puts drills side by side.
#[must_use]
pub fn sites(forecasts: &[Forecast]) -> Sites {
    let name = |one: &Forecast| {
        let same = forecasts.iter().filter(|other| other.site == one.site).count();
        if same > 1 { format!("{} without {}", one.site, one.lost.join(", ")) } else { one.site.clone() }
    };
    let columns = forecasts.iter().map(|one| Site {
        name: name(one),
        at: one.at.clone(),
        lost: one.lost.clone(),
        total: one.total,
        start: one.start,
    });
    let mut images: BTreeMap<&str, Vec<Option<Cell>>> = BTreeMap::new();
    for (column, forecast) in forecasts.iter().enumerate() {
        for image in forecast.workloads.iter().flat_map(|one| &one.images) {
            let cells = images.entry(&image.image).or_insert_with(|| vec![None; forecasts.len()]);
            let cell = Cell { prospect: image.prospect, obstacle: image.obstacle };
            if let Some(known) = cells.get_mut(column) {
                *known = Some(known.map_or(cell, |known| worse(known, cell)));
            }
        }
    }
    let fails = |cells: &[Option<Cell>]| cells.iter().flatten().any(|cell| cell.prospect != Prospect::Starts);
    let mut images: Vec<AtSites> = images
        .into_iter()
        .filter(|(_, cells)| fails(cells))
        .map(|(image, cells)| AtSites { image: image.to_owned(), cells })
        .collect();
    images.sort_by_cached_key(|one| {
        let of = |prospect| one.cells.iter().flatten().filter(|cell| cell.prospect == prospect).count();
        (std::cmp::Reverse((of(Prospect::Fails), of(Prospect::Unknown))), one.image.clone())
    });
    Sites { sites: columns.collect(), images }
}

fn worse(one: Cell, other: Cell) -> Cell {
    let rank = |cell: &Cell| (cell.prospect, cell.obstacle.is_none(), cell.obstacle);
    if rank(&other) < rank(&one) { other } else { one }
}
