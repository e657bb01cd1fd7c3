//go:build ignore

// This program writes the row types of package vswitchd from the schema that
// the installed Open vSwitch ships, less the tables and columns that spanctl
// does not use, by libovsdb's modelgen. It writes the same from any OVS since
// 2.8 (Port.vlan_mode knows dot1q-tunnel since then): Mirror.filter, which came with 3.4 (schema 8.7.0), is added where the
// installed schema lacks it.
package main

import (
	"encoding/json"
	"log"
	"os"

	"github.com/ovn-kubernetes/libovsdb/modelgen"
	"github.com/ovn-kubernetes/libovsdb/ovsdb"
)

const schemaFile = "/usr/share/openvswitch/vswitch.ovsschema"

var columns = map[string][]string{
	"Open_vSwitch": {"bridges", "external_ids", "ovs_version"},
	"Bridge":       {"name", "ports", "mirrors", "datapath_type", "fail_mode", "flood_vlans", "stp_enable", "other_config", "external_ids"},
	"Port":         {"name", "interfaces", "tag", "trunks", "vlan_mode", "protected", "other_config", "external_ids"},
	"Interface": {
		"name", "type", "status", "ofport", "ofport_request", "mac_in_use", "mtu", "error", "link_state",
		"options", "external_ids",
	},
	"Mirror": {
		"name", "select_all", "select_src_port", "select_dst_port", "select_vlan",
		"output_port", "output_vlan", "snaplen", "filter", "external_ids",
	},
}

func main() {
	log.SetFlags(0)
	text, err := os.ReadFile(schemaFile)
	if err != nil {
		log.Fatal(err)
	}
	var schema ovsdb.DatabaseSchema
	if err := json.Unmarshal(text, &schema); err != nil {
		log.Fatal(err)
	}
	optional := new(ovsdb.ColumnSchema)
	if err := json.Unmarshal([]byte(`{"type": {"key": "string", "min": 0, "max": 1}}`), optional); err != nil {
		log.Fatal(err)
	}
	tables := map[string]ovsdb.TableSchema{}
	for name, keep := range columns {
		table := schema.Tables[name]
		all := table.Columns
		table.Columns = map[string]*ovsdb.ColumnSchema{}
		for _, column := range keep {
			table.Columns[column] = all[column]
			if name == "Mirror" && column == "filter" {
				table.Columns[column] = optional
			}
			if table.Columns[column] == nil {
				log.Fatalf("%s: table %s has no column %s", schemaFile, name, column)
			}
		}
		tables[name] = table
	}
	gen, err := modelgen.NewGenerator()
	if err != nil {
		log.Fatal(err)
	}
	for name, table := range tables {
		args := modelgen.GetTableTemplateData("vswitchd", name, &table)
		if err := gen.Generate(modelgen.FileName(name), modelgen.NewTableTemplate(), args); err != nil {
			log.Fatal(err)
		}
	}
}
