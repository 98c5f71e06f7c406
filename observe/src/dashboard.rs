//! A dashboard, and how Grafana reads it.

use serde_json::{Value, json};

use crate::panel::{Look, Panel};

/// A dashboard.
#[derive(Clone, Debug)]
pub struct Dashboard {
    /// Of its file, and in its address in Grafana.
    pub name: &'static str,
    pub title: &'static str,
    pub about: &'static str,
    /// What the reader chooses from.
    pub variables: Vec<Variable>,
    pub panels: Vec<Panel>,
}

/// A choice.
#[derive(Clone, Debug)]
pub struct Variable {
    pub name: &'static str,
    pub label: &'static str,
    /// The series whose values are offered.
    pub series: &'static str,
    pub of: &'static str,
}

/// Grafana's grid is 24 wide.
const WIDTH: usize = 8;
const HEIGHT: usize = 8;

impl Dashboard {
    /// The document that Grafana imports. Its own data source is asked for with the import.
    #[must_use]
    pub fn in_grafana(&self) -> String {
        let panels: Vec<Value> = self
            .panels
            .iter()
            .enumerate()
            .map(|(at, panel)| in_grafana(at, panel))
            .collect();
        let mut variables = vec![json!({
            "name": "datasource",
            "label": "Data source",
            "type": "datasource",
            "query": "prometheus",
            "current": {},
            "hide": 0,
            "refresh": 1,
        })];
        variables.extend(self.variables.iter().map(|variable| {
            let query = format!("label_values({}, {})", variable.series, variable.of);
            json!({
                "name": variable.name,
                "label": variable.label,
                "type": "query",
                "datasource": source(),
                "definition": query,
                "query": {"query": query, "refId": variable.name},
                "refresh": 2,
                "sort": 1,
                "multi": false,
                "includeAll": true,
                "allValue": ".*",
                "current": {"selected": true, "text": "All", "value": "$__all"},
            })
        }));
        let document = json!({
            "uid": format!("portcullis-{}", self.name),
            "title": format!("Portcullis / {}", self.title),
            "description": self.about,
            "tags": ["portcullis", "edge"],
            "schemaVersion": 39,
            "version": 1,
            "editable": true,
            "graphTooltip": 1,
            "refresh": "30s",
            "time": {"from": "now-1h", "to": "now"},
            "timezone": "",
            "links": [{
                "type": "dashboards", "title": "Portcullis", "tags": ["portcullis"],
                "asDropdown": true, "includeVars": false, "keepTime": true,
            }],
            "annotations": {"list": []},
            "templating": {"list": variables},
            "panels": panels,
        });
        format!("{document:#}\n")
    }
}

fn source() -> Value {
    json!({"type": "prometheus", "uid": "${datasource}"})
}

fn in_grafana(at: usize, panel: &Panel) -> Value {
    let now = panel.look != Look::Lines;
    let targets: Vec<Value> = panel
        .queries
        .iter()
        .zip('A'..)
        .map(|(query, id)| {
            json!({
                "refId": id.to_string(),
                "datasource": source(),
                "expr": query.expr,
                "legendFormat": query.legend,
                "instant": now,
                "range": !now,
            })
        })
        .collect();
    let mut about = panel.about.to_owned();
    if let Some(why) = panel.quiet {
        if !about.is_empty() {
            about.push(' ');
        }
        about.push_str(why);
    }
    let reduce = json!({"calcs": ["lastNotNull"], "fields": "", "values": false});
    let (kind, options) = match panel.look {
        Look::Lines => (
            "timeseries",
            json!({
                "legend": {"displayMode": "list", "placement": "bottom", "showLegend": true},
                "tooltip": {"mode": "multi", "sort": "desc"},
            }),
        ),
        Look::Number => (
            "stat",
            json!({
                "reduceOptions": reduce, "colorMode": "none", "graphMode": "none",
                "textMode": "auto", "justifyMode": "auto", "orientation": "auto",
            }),
        ),
        Look::Bars => (
            "bargauge",
            json!({
                "reduceOptions": reduce, "displayMode": "basic", "orientation": "horizontal",
                "showUnfilled": false, "minVizHeight": 12,
            }),
        ),
    };
    json!({
        "id": at + 1,
        "type": kind,
        "title": panel.title,
        "description": about,
        "datasource": source(),
        "gridPos": {"h": HEIGHT, "w": WIDTH, "x": at % 3 * WIDTH, "y": at / 3 * HEIGHT},
        "fieldConfig": {
            "defaults": {"unit": panel.unit.in_grafana(), "min": 0},
            "overrides": [],
        },
        "options": options,
        "targets": targets,
    })
}
