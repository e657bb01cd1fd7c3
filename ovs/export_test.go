package ovs

import (
	"github.com/ovn-kubernetes/libovsdb/cache"
	"github.com/ovn-kubernetes/libovsdb/model"

	"spanctl/ovs/vswitchd"
)

// AfterWatch calls f with the root's external_ids when they have changed, after the Watch has been told of it and of all before.
func (c *Conn) AfterWatch(f func(ids map[string]string)) {
	c.client.Cache().AddEventHandler(&cache.EventHandlerFuncs{UpdateFunc: func(_ string, _, after model.Model) {
		if root, ok := after.(*vswitchd.OpenvSwitch); ok {
			f(root.ExternalIDs)
		}
	}})
}
