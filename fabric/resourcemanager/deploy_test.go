package resourcemanager

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/causeway-gateway/causeway/fabric/access"
	"github.com/causeway-gateway/causeway/fabric/document"
)

func deploymentAt(name string) string {
	return group1 + "/providers/Microsoft.Resources/deployments/" + name
}

// order is the body of a deployment.
func orderText(template, parameters string) string {
	return `{"properties":{"mode":"Incremental","template":` + template + `,"parameters":` + parameters + `}}`
}

// templateText is a template of these sections.
func templateText(sections string) string {
	return `{"$schema":"https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#","contentVersion":"1.0.0.0",` + sections + `}`
}

// thingText is a resource of a template.
func thingText(kind, name, more string) string {
	return fmt.Sprintf(`{"type":"%s","apiVersion":"2024-01-01","name":"%s","location":"[resourceGroup().location]"%s}`, kind, name, more)
}

// run deploys, and returns the deployment when it has ended.
func (f *fixture) run(name, body string) *document.Object {
	f.t.Helper()
	begun := f.do("owner", "PUT", deploymentAt(name), body)
	f.want(begun, 201, "")
	f.ended("owner", begun)
	return f.do("owner", "GET", deploymentAt(name), "").body
}

func TestADeploymentMakesWhatItsTemplateSays(t *testing.T) {
	f := newFixture(t)
	d := f.run("d", orderText(templateText(`
		"parameters":{"secret":{"type":"securestring"},"count":{"type":"int","defaultValue":2}},
		"resources":[`+thingText(thing, "base", `,"properties":{"password":"[parameters('secret')]"}`)+`,`+
		thingText(slow, "[format('s{0}', copyIndex())]", `,"copy":{"name":"many","count":"[parameters('count')]"},"properties":{"of":"[reference('base').address]"},"tags":{"key":"[listKeys('base','2024-01-01').key]"}`)+`,`+
		thingText(thing, "last", `,"dependsOn":["many"]`)+`,
		{"type":"Microsoft.Authorization/locks","apiVersion":"2020-05-01","name":"keep","properties":{"level":"CanNotDelete"}}],
		"outputs":{"address":{"type":"string","value":"[reference('last').address]"},"hidden":{"type":"securestring","value":"[parameters('secret')]"}}`), `{"secret":{"value":"hunter2"}}`))
	if got := d.String("properties", "provisioningState"); got != stateSucceeded {
		t.Fatalf("deployment %s", document.Text(d))
	}
	if got := d.String("properties", "outputs", "address", "value"); got != "192.0.2.1/last" {
		t.Errorf("output %q", got)
	}
	if strings.Contains(document.Text(d), "hunter2") {
		t.Errorf("the secret is shown: %s", document.Text(d))
	}
	if n := len(d.Array("properties", "outputResources")); n != 5 {
		t.Errorf("%d resources: %s", n, document.Text(d))
	}
	s1 := f.do("owner", "GET", at(slow, "s1"), "").body
	if s1.String("properties", "of") != "192.0.2.1/base" || s1.String("tags", "key") != "of base" || s1.String("location") != "westeurope" {
		t.Errorf("s1 %s", document.Text(s1))
	}
	f.want(f.do("owner", "DELETE", at(thing, "last"), ""), 409, "ScopeLocked")
	steps := f.do("owner", "GET", deploymentAt("d")+"/operations", "")
	if n := len(steps.body.Array("value")); n != 5 {
		t.Errorf("%d operations", n)
	}
	one := steps.body.Array("value")[0].(*document.Object)
	f.want(f.do("owner", "GET", deploymentAt("d")+"/operations/"+one.String("operationId"), ""), 200, "")
	if got := f.do("owner", "POST", deploymentAt("d")+"/exportTemplate", ""); got.body.String("template", "contentVersion") != "1.0.0.0" {
		t.Errorf("exported %s", document.Text(got.body))
	}
}

func TestADeploymentThatIsSentAgainChangesNothing(t *testing.T) {
	f := newFixture(t)
	body := orderText(templateText(`"resources":[`+thingText(thing, "t", `,"properties":{"size":1}`)+`]`), "{}")
	f.run("d", body)
	if got := f.run("d", body).String("properties", "provisioningState"); got != stateSucceeded {
		t.Errorf("the second time: %s", got)
	}
	if n := len(f.do("owner", "GET", group1+"/resources?api-version=2021-04-01", "").body.Array("value")); n != 1 {
		t.Errorf("%d resources", n)
	}
}

func TestNestedDeployments(t *testing.T) {
	f := newFixture(t)
	inner := func(scope, value string) string {
		return fmt.Sprintf(`{"type":"Microsoft.Resources/deployments","apiVersion":"2021-04-01","name":"%s","properties":{"mode":"Incremental","expressionEvaluationOptions":{"scope":"%s"},
			"parameters":%s,"template":%s}}`, scope, scope, map[bool]string{true: `{"p":{"value":"[parameters('p')]"}}`, false: "{}"}[scope == "inner"],
			templateText(`"parameters":{"p":{"type":"string","defaultValue":"inner"}},"resources":[`+thingText(thing, scope, `,"properties":{"p":"[parameters('p')]"}`)+`],"outputs":{"o":{"type":"string","value":"`+value+`"}}`))
	}
	d := f.run("d", orderText(templateText(`"parameters":{"p":{"type":"string"}},"resources":[`+inner("inner", "[parameters('p')]")+`,`+inner("outer", "plain")+`],
		"outputs":{"o":{"type":"string","value":"[reference('inner').outputs.o.value]"}}`), `{"p":{"value":"given"}}`))
	if got := d.String("properties", "outputs", "o", "value"); got != "given" {
		t.Errorf("output %q of %s", got, document.Text(d))
	}
	for _, name := range []string{"inner", "outer"} {
		if got := f.do("owner", "GET", at(thing, name), "").body.String("properties", "p"); got != "given" {
			t.Errorf("%s has %q", name, got)
		}
	}
}

// A deployment that waits for itself would wait for ever.
func TestADeploymentIsNotNestedInItself(t *testing.T) {
	f := newFixture(t)
	nested := func(name, resources string) string {
		return `{"type":"Microsoft.Resources/deployments","apiVersion":"2021-04-01","name":"` + name + `","properties":{"mode":"Incremental","expressionEvaluationOptions":{"scope":"inner"},"template":` +
			templateText(`"resources":[`+resources+`]`) + `}}`
	}
	for name, resources := range map[string]string{"itself": nested("D", thingText(thing, "t", "")), "by way of another": nested("other", nested("d", thingText(thing, "t", "")))} {
		d := f.run("d", orderText(templateText(`"resources":[`+resources+`]`), "{}"))
		if text := document.Text(d); !strings.Contains(text, "DeploymentFailed") || name == "itself" && !strings.Contains(text, "nested in itself") {
			t.Errorf("%s: %s", name, text)
		}
	}
	f.want(f.do("owner", "GET", at(thing, "t"), ""), 404, "ResourceNotFound")
}

func TestADeploymentThatFailsSaysWhereAndLeavesTheRest(t *testing.T) {
	f := newFixture(t)
	f.world.set(func() { f.world.broken["bad"] = true })
	d := f.run("d", orderText(templateText(`"resources":[`+thingText(thing, "good", "")+`,`+thingText(slow, "bad", "")+`,`+thingText(thing, "after", `,"dependsOn":["bad"]`)+`]`), "{}"))
	e := d.Object("properties", "error")
	if e.String("code") != "DeploymentFailed" || !strings.Contains(document.Text(e), "AllocationFailed") {
		t.Errorf("error %s", document.Text(d))
	}
	f.want(f.do("owner", "GET", at(thing, "good"), ""), 200, "")
	f.want(f.do("owner", "GET", at(thing, "after"), ""), 404, "ResourceNotFound")
	status := f.do("owner", "GET", deploymentAt("d")+"/operations", "")
	if n := len(status.body.Array("value")); n != 2 {
		t.Errorf("%d operations: %s", n, document.Text(status.body))
	}
}

func TestDeploymentsThatAreRefused(t *testing.T) {
	f := newFixture(t)
	f.grant("stranger", access.Reader, group1)
	f.grant("stranger", access.VirtualMachineContributor, group1) // may deploy, but no things
	one := templateText(`"resources":[` + thingText(thing, "t", "") + `]`)
	for name, tt := range map[string]struct {
		who, body string
		status    int
		code      string
	}{
		"complete mode":         {"owner", `{"properties":{"mode":"Complete","template":` + one + `}}`, 400, "InvalidDeploymentMode"},
		"a template elsewhere":  {"owner", `{"properties":{"mode":"Incremental","templateLink":{"uri":"https://example.com/t.json"}}}`, 400, "TemplateLinkNotSupported"},
		"a secret of a vault":   {"owner", orderText(one, `{"p":{"reference":{"keyVault":{"id":"x"},"secretName":"s"}}}`), 400, "ParameterReferenceNotSupported"},
		"no template":           {"owner", `{"properties":{"mode":"Incremental"}}`, 400, "InvalidDeployment"},
		"a location in a group": {"owner", `{"location":"westeurope","properties":{"mode":"Incremental","template":` + one + `}}`, 400, "InvalidDeployment"},
		"an unknown function":   {"owner", orderText(templateText(`"resources":[`+thingText(thing, "[nothing()]", "")+`]`), "{}"), 400, "InvalidTemplate"},
		"an unknown type":       {"owner", orderText(templateText(`"resources":[`+thingText("Causeway.Test/none", "t", "")+`]`), "{}"), 400, "InvalidTemplateDeployment"},
		"an unknown version":    {"owner", orderText(strings.Replace(one, "2024-01-01\",\"name", "2020-01-01\",\"name", 1), "{}"), 400, "NoRegisteredProviderFound"},
		"a circle":              {"owner", orderText(templateText(`"resources":[`+thingText(thing, "a", `,"dependsOn":["b"]`)+`,`+thingText(thing, "b", `,"dependsOn":["a"]`)+`]`), "{}"), 400, "InvalidTemplate"},
		"rights that lack":      {"stranger", orderText(one, "{}"), 403, "InvalidTemplateDeployment"},
	} {
		got := f.do(tt.who, "PUT", deploymentAt("d"), tt.body)
		if got.status != tt.status || got.code() != tt.code {
			t.Errorf("%s: %d %q (%s), want %d %q", name, got.status, got.code(), got.body.String("error", "message"), tt.status, tt.code)
		}
	}
	f.want(f.do("owner", "GET", deploymentAt("d"), ""), 404, "DeploymentNotFound")
	f.want(f.do("owner", "GET", at(thing, "t"), ""), 404, "ResourceNotFound")
}

// A caller's rights are asked for each thing that expressions read, too.
func TestExpressionsReadNothingThatTheCallerMayNot(t *testing.T) {
	f := newFixture(t)
	f.want(f.do("owner", "PUT", "/subscriptions/"+testSub+"/resourceGroups/other", `{"location":"westeurope"}`), 201, "")
	f.want(f.do("owner", "PUT", strings.Replace(at(thing, "t"), "/g/", "/other/", 1), `{"location":"westeurope"}`), 201, "")
	f.grant("stranger", access.Contributor, group1)
	body := orderText(templateText(`"resources":[],"outputs":{"k":{"type":"object","value":"[listKeys(resourceId('other','Causeway.Test/things','t'),'2024-01-01')]"}}`), "{}")
	begun := f.do("stranger", "PUT", deploymentAt("d"), body)
	f.want(begun, 201, "")
	f.ended("stranger", begun)
	d := f.do("stranger", "GET", deploymentAt("d"), "").body
	if !strings.Contains(document.Text(d), "AuthorizationFailed") || strings.Contains(document.Text(d), "of t") {
		t.Errorf("deployment %s", document.Text(d))
	}
}

func TestACanceledDeploymentBeginsNothingMore(t *testing.T) {
	f := newFixture(t)
	f.world.set(func() { f.world.gate = make(chan struct{}) })
	begun := f.do("owner", "PUT", deploymentAt("d"), orderText(templateText(`"resources":[`+thingText(slow, "first", "")+`,`+thingText(slow, "second", `,"dependsOn":["first"]`)+`]`), "{}"))
	f.want(begun, 201, "")
	f.until(func() bool { return f.do("owner", "GET", at(slow, "first"), "").status == 200 })
	f.want(f.do("owner", "PUT", deploymentAt("d"), orderText(templateText(`"resources":[]`), "{}")), 409, "DeploymentActive")
	f.want(f.do("owner", "DELETE", deploymentAt("d"), ""), 409, "DeploymentActive")
	f.want(f.do("owner", "POST", deploymentAt("d")+"/cancel", ""), 204, "")
	close(f.world.gate)
	f.ended("owner", begun)
	if got := f.do("owner", "GET", deploymentAt("d"), "").body.String("properties", "provisioningState"); got != stateCanceled {
		t.Errorf("state %q", got)
	}
	f.want(f.do("owner", "GET", at(slow, "second"), ""), 404, "ResourceNotFound")
	f.want(f.do("owner", "POST", deploymentAt("d")+"/cancel", ""), 409, "DeploymentCannotBeCancelled")
	f.want(f.do("owner", "DELETE", deploymentAt("d"), ""), 204, "")
}

func (f *fixture) until(done func() bool) {
	f.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !done(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			f.t.Fatal("not within 30 s")
		}
	}
}

func TestADeploymentThatWasCutOffGoesOn(t *testing.T) {
	f := newFixture(t)
	gate, last := make(chan struct{}), make(chan struct{})
	f.world.set(func() { f.world.gate, f.world.gates = gate, map[string]chan struct{}{"two": last} })
	inner := `{"type":"Microsoft.Resources/deployments","apiVersion":"2021-04-01","name":"inner","properties":{"mode":"Incremental","template":` +
		templateText(`"resources":[`+thingText(slow, "nested", "")+`]`) + `}}`
	body := orderText(templateText(`"parameters":{"id":{"type":"string","defaultValue":"[newGuid()]"}},"resources":[`+thingText(slow, "one", `,"tags":{"id":"[parameters('id')]"}`)+`,`+inner+`,`+
		thingText(slow, "two", `,"tags":{"id":"[parameters('id')]"},"dependsOn":["one","inner"]`)+`]`), "{}")
	begun := f.do("owner", "PUT", deploymentAt("d"), body)
	f.want(begun, 201, "")
	there := func(name string) func() bool {
		return func() bool { return f.do("owner", "GET", at(slow, name), "").status == 200 }
	}
	f.until(there("one"))
	f.until(there("nested"))
	f.close()
	f.open()
	close(gate)
	f.until(there("two"))
	f.close()
	f.open()
	close(last)
	if got := f.ended("owner", begun); got.body.String("status") != stateSucceeded {
		t.Fatalf("ended %s", document.Text(got.body))
	}
	one, two := f.do("owner", "GET", at(slow, "one"), "").body, f.do("owner", "GET", at(slow, "two"), "").body
	if id := one.String("tags", "id"); id == "" || id != two.String("tags", "id") {
		t.Errorf("ids %q and %q: the deployment was expanded anew", id, two.String("tags", "id"))
	}
	for _, name := range []string{"one", "two", "nested"} {
		if n := f.world.count(at(slow, name)); n == 0 || n > 2 {
			t.Errorf("%s was made real %d times", name, n)
		}
	}
}

func TestWhatIfSaysWhatWouldChange(t *testing.T) {
	f := newFixture(t)
	f.want(f.do("owner", "PUT", at(thing, "same"), `{"location":"westeurope","properties":{"size":1}}`), 201, "")
	f.want(f.do("owner", "PUT", at(thing, "other"), `{"location":"westeurope","properties":{"size":1}}`), 201, "")
	f.want(f.do("owner", "PUT", at(thing, "alone"), `{"location":"westeurope"}`), 201, "")
	got := f.do("owner", "POST", deploymentAt("d")+"/whatIf", orderText(templateText(`"resources":[`+thingText(thing, "same", `,"properties":{"size":1}`)+`,`+
		thingText(thing, "other", `,"properties":{"size":2}`)+`,`+thingText(thing, "new", "")+`]`), "{}"))
	f.want(got, 200, "")
	have := make(map[string]string)
	for _, v := range got.body.Array("properties", "changes") {
		c := v.(*document.Object)
		id := c.String("resourceId")
		have[id[strings.LastIndexByte(id, '/')+1:]] = c.String("changeType")
		if delta := c.Array("delta"); c.String("changeType") == "Modify" && (len(delta) != 1 || delta[0].(*document.Object).String("path") != "properties.size") {
			t.Errorf("delta %s", document.Text(c))
		}
	}
	for name, want := range map[string]string{"same": "NoChange", "other": "Modify", "new": "Create", "alone": "Ignore"} {
		if have[name] != want {
			t.Errorf("%s: %q, want %q", name, have[name], want)
		}
	}
	f.want(f.do("owner", "GET", at(thing, "new"), ""), 404, "ResourceNotFound")
}

func TestDeploymentsToASubscription(t *testing.T) {
	f := newFixture(t)
	sub := "/subscriptions/" + testSub
	path := sub + "/providers/Microsoft.Resources/deployments/d"
	body := `{"location":"westeurope","properties":{"mode":"Incremental","template":` + templateText(`"resources":[
		{"type":"Microsoft.Resources/resourceGroups","apiVersion":"2021-04-01","name":"made","location":"northeurope"},
		{"type":"Microsoft.Resources/deployments","apiVersion":"2021-04-01","name":"in","resourceGroup":"made","dependsOn":["made"],"properties":{"mode":"Incremental","expressionEvaluationOptions":{"scope":"inner"},"template":`+
		templateText(`"resources":[`+thingText(thing, "t", "")+`]`)+`}}]`) + `}}`
	begun := f.do("owner", "PUT", path, body)
	f.want(begun, 201, "")
	if got := f.ended("owner", begun); got.body.String("status") != stateSucceeded {
		t.Fatalf("ended %s", document.Text(got.body))
	}
	if got := f.do("owner", "GET", sub+"/resourceGroups/made/providers/"+thing+"/t", "").body.String("location"); got != "northeurope" {
		t.Errorf("location %q", got)
	}
	f.want(f.do("owner", "PUT", path, strings.Replace(body, `"location":"westeurope",`, "", 1)), 400, "LocationRequired")
}
