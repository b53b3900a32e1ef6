package resourcemanager

import (
	"strings"
	"testing"

	"github.com/causeway-gateway/causeway/fabric/access"
	"github.com/causeway-gateway/causeway/fabric/azure"
	"github.com/causeway-gateway/causeway/fabric/document"
)

// changes returns what a what-if at a path says: by resource, in lower case.
func (f *fixture) changes(path, body string) map[string]string {
	f.t.Helper()
	got := f.do("owner", "POST", path+"/whatIf", body)
	f.want(got, 200, "")
	all := make(map[string]string)
	for _, v := range got.body.Array("properties", "changes") {
		c := v.(*document.Object)
		all[strings.ToLower(c.String("resourceId"))] = c.String("changeType")
	}
	return all
}

func TestWhatIfKnowsWhatIsNoResource(t *testing.T) {
	f := newFixture(t)
	assignment := azure.NewGUID()
	resources := `"resources":[{"type":"Microsoft.Authorization/locks","apiVersion":"2020-05-01","name":"l","properties":{"level":"CanNotDelete"}},
		{"type":"Microsoft.Resources/tags","apiVersion":"2021-04-01","name":"default","properties":{"tags":{"a":"1"}}},
		{"type":"Microsoft.Authorization/roleAssignments","apiVersion":"2022-04-01","name":"` + assignment + `","properties":{"principalId":"` + principals["stranger"].Object + `",
			"roleDefinitionId":"[subscriptionResourceId('Microsoft.Authorization/roleDefinitions','` + access.Reader + `')]"}}]`
	body := orderText(templateText(resources), "{}")
	ids := []string{group1 + rbac + "locks/l", group1 + "/providers/Microsoft.Resources/tags/default", group1 + rbac + "roleAssignments/" + assignment}
	before := f.changes(deploymentAt("w"), body)
	if got := f.run("d", body).String("properties", "provisioningState"); got != stateSucceeded {
		t.Fatalf("deployment %s", got)
	}
	after := f.changes(deploymentAt("w"), body)
	changed := f.changes(deploymentAt("w"), strings.Replace(body, "CanNotDelete", "ReadOnly", 1))
	for i, id := range ids {
		key := strings.ToLower(id)
		if first := before[key]; first != "Create" && !(i == 1 && first == "Modify") { // there are always tags, if only none
			t.Errorf("%s at first: %q", id, first)
		}
		if after[key] != "NoChange" {
			t.Errorf("%s then: %q", id, after[key])
		}
	}
	if got := changed[strings.ToLower(ids[0])]; got != "Modify" {
		t.Errorf("another level: %q", got)
	}
}

func TestWhatIfLooksIntoNestedDeployments(t *testing.T) {
	f := newFixture(t)
	f.want(f.do("owner", "PUT", at(thing, "there"), `{"location":"westeurope","properties":{"size":1}}`), 201, "")
	nested := func(name, group, resources string) string {
		return `{"type":"Microsoft.Resources/deployments","apiVersion":"2021-04-01","name":"` + name + `","resourceGroup":"` + group +
			`","properties":{"mode":"Incremental","expressionEvaluationOptions":{"scope":"inner"},"template":` + templateText(`"resources":[`+resources+`]`) + `}}`
	}
	group := func(name string) string {
		return `{"type":"Microsoft.Resources/resourceGroups","apiVersion":"2021-04-01","name":"` + name + `","location":"westeurope"}`
	}
	sub := "/subscriptions/" + testSub
	got := f.changes(sub+"/providers/Microsoft.Resources/deployments/d", `{"location":"westeurope","properties":{"mode":"Incremental","template":`+templateText(`"resources":[`+
		group("g")+`,`+group("new")+`,`+nested("a", "g", thingText(thing, "there", `,"properties":{"size":2}`)+`,`+thingText(thing, "more", ""))+`,`+nested("b", "new", thingText(thing, "x", ""))+`]`)+`}}`)
	for id, want := range map[string]string{group1: "NoChange", sub + "/resourceGroups/new": "Create", at(thing, "there"): "Modify", at(thing, "more"): "Create",
		sub + "/resourceGroups/new/providers/Microsoft.Resources/deployments/b": "Unsupported"} {
		if have := got[strings.ToLower(id)]; have != want {
			t.Errorf("%s: %q, want %q", id, have, want)
		}
	}
	f.want(f.do("owner", "GET", at(thing, "more"), ""), 404, "ResourceNotFound")
}

// What a template reads can be a lock or a role assignment, too.
func TestReferencesToWhatIsNoResource(t *testing.T) {
	f := newFixture(t)
	d := f.run("d", orderText(templateText(`"resources":[{"type":"Microsoft.Authorization/locks","apiVersion":"2020-05-01","name":"l","properties":{"level":"CanNotDelete"}}],
		"outputs":{"level":{"type":"string","value":"[reference('l').level]"}}`), "{}"))
	if got := d.String("properties", "outputs", "level", "value"); got != "CanNotDelete" {
		t.Errorf("deployment %s", document.Text(d))
	}
}

func TestDeploymentsThatMakeTheSameGroupWaitForEachOther(t *testing.T) {
	f := newFixture(t)
	sub := "/subscriptions/" + testSub
	held, err := f.claim(azure.GroupID(testSub, "made"), operation{Verb: verbAction})
	if err != nil {
		t.Fatal(err)
	}
	begun := f.do("owner", "PUT", sub+"/providers/Microsoft.Resources/deployments/d", `{"location":"westeurope","properties":{"mode":"Incremental","template":`+
		templateText(`"resources":[{"type":"Microsoft.Resources/resourceGroups","apiVersion":"2021-04-01","name":"made","location":"westeurope"}]`)+`}}`)
	f.want(begun, 201, "")
	f.until(func() bool {
		return len(f.do("owner", "GET", sub+"/providers/Microsoft.Resources/deployments/d/operations", "").body.Array("value")) == 1
	})
	f.release(held)
	if got := f.ended("owner", begun); got.body.String("status") != stateSucceeded {
		t.Errorf("ended %s", document.Text(got.body))
	}
}
