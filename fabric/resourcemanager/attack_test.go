package resourcemanager

import (
	"strings"
	"testing"

	"github.com/causeway-gateway/causeway/fabric/access"
	"github.com/causeway-gateway/causeway/fabric/azure"
	"github.com/causeway-gateway/causeway/fabric/document"
)

const rbac = "/providers/Microsoft.Authorization/"

// What the control plane serves itself is no resource, and resources lie in groups and nowhere else: whatever is kept at
// another place, nobody could delete.
func TestNothingIsKeptWhereItDoesNotBelong(t *testing.T) {
	f := newFixture(t)
	f.want(f.do("owner", "PUT", at(thing, "t"), `{"location":"westeurope"}`), 201, "")
	body := `{"location":"westeurope","properties":{}}`
	for _, path := range []string{at("Microsoft.Resources/resourceGroups", "h"), at("Microsoft.Resources/subscriptions", "s"), at("Microsoft.Insights/eventtypes", "e") + "/management/m"} {
		f.want(f.do("owner", "PUT", path, body), 404, "InvalidRequestUri")
	}
	f.want(f.do("owner", "PUT", at(thing, "t")+"/providers/"+thing+"/u", body), 400, "InvalidRequestUri")
	group := `{"type":"Microsoft.Resources/resourceGroups","apiVersion":"2021-04-01","name":"made","location":"westeurope"}`
	inner := strings.Replace(thingText(thing, "u", `,"scope":"`+at(thing, "t")+`"`), "[resourceGroup().location]", "westeurope", 1)
	for _, resource := range []string{group, inner, `{"type":"Microsoft.Resources/subscriptions","apiVersion":"2021-04-01","name":"s"}`} {
		f.want(f.do("owner", "PUT", deploymentAt("d"), orderText(templateText(`"resources":[`+resource+`]`), "{}")), 400, "InvalidTemplateDeployment")
	}
	loose := `{"location":"westeurope","properties":{"mode":"Incremental","template":` + templateText(`"resources":[`+strings.Replace(thingText(thing, "u", ""), "[resourceGroup().location]", "westeurope", 1)+`]`) + `}}`
	f.want(f.do("owner", "PUT", "/subscriptions/"+testSub+"/providers/Microsoft.Resources/deployments/d", loose), 400, "InvalidTemplateDeployment")
	if groups := f.do("owner", "GET", "/subscriptions/"+testSub+"/resourceGroups", "").body.Array("value"); len(groups) != 1 {
		t.Errorf("groups %s", document.Text(groups))
	}
}

// Who restricts what another may assign must not be told that all is well when nothing is restricted.
func TestConditionsAreNotIgnored(t *testing.T) {
	f := newFixture(t)
	f.want(f.do("owner", "PUT", group1+rbac+"roleAssignments/"+azure.NewGUID(), `{"properties":{"roleDefinitionId":"`+access.RBACAdministrator+`","principalId":"`+principals["stranger"].Object+
		`","condition":"@Request[x] ForAnyOfAnyValues:GuidEquals {y}","conditionVersion":"2.0"}}`), 400, "RoleAssignmentConditionNotSupported")
	f.want(f.do("owner", "PUT", group1+rbac+"roleDefinitions/"+azure.NewGUID(), `{"properties":{"roleName":"Some","assignableScopes":["`+group1+`"],"permissions":[{"actions":["*"],"condition":"@Request[x]"}]}}`),
		400, "RoleDefinitionConditionNotSupported")
	f.want(f.do("stranger", "GET", group1, ""), 403, "AuthorizationFailed")
	f.want(f.do("owner", "PUT", group1+rbac+"roleAssignments/"+azure.NewGUID(), `{"properties":{"roleDefinitionId":"`+access.Reader+`","principalId":"`+principals["stranger"].Object+`","condition":null}}`), 201, "")
}

func TestARoleCanBeTakenAwayWhileSomethingElseIsLocked(t *testing.T) {
	f := newFixture(t)
	id := "/subscriptions/" + testSub + rbac + "roleAssignments/" + azure.NewGUID()
	f.want(f.do("owner", "PUT", id, `{"properties":{"roleDefinitionId":"`+access.Reader+`","principalId":"`+principals["stranger"].Object+`"}}`), 201, "")
	f.want(f.do("owner", "PUT", group1+rbac+"locks/l", `{"properties":{"level":"CanNotDelete"}}`), 201, "")
	f.want(f.do("owner", "DELETE", id, ""), 200, "")
	f.want(f.do("stranger", "GET", group1, ""), 403, "AuthorizationFailed")
}

func TestLocksHoldForDeployments(t *testing.T) {
	f := newFixture(t)
	empty := orderText(templateText(`"resources":[]`), "{}")
	f.run("d", empty)
	f.want(f.do("owner", "PUT", group1+rbac+"locks/l", `{"properties":{"level":"CanNotDelete"}}`), 201, "")
	f.want(f.do("owner", "DELETE", deploymentAt("d"), ""), 409, "ScopeLocked")
	f.run("d", empty)
	f.want(f.do("owner", "PUT", group1+rbac+"locks/l", `{"properties":{"level":"ReadOnly"}}`), 200, "")
	f.want(f.do("owner", "PUT", deploymentAt("d"), empty), 409, "ScopeLocked")
}

// A group of the same name is another one, which knows nothing of the first.
func TestAGroupTakesItsDeploymentsWithIt(t *testing.T) {
	f := newFixture(t)
	f.run("d", orderText(templateText(`"resources":[`+thingText(thing, "t", "")+`]`), "{}"))
	f.ended("owner", f.do("owner", "DELETE", group1, ""))
	f.want(f.do("owner", "PUT", group1, `{"location":"westeurope"}`), 201, "")
	f.want(f.do("owner", "GET", deploymentAt("d"), ""), 404, "DeploymentNotFound")
	if list := f.do("owner", "GET", group1+"/providers/Microsoft.Resources/deployments", "").body.Array("value"); len(list) != 0 {
		t.Errorf("deployments %s", document.Text(list))
	}
}

// A part that is made while its thing goes would have nothing to lie in.
func TestWhatGoesAndWhatIsInItDoNotChangeAtTheSameTime(t *testing.T) {
	f := newFixture(t)
	f.want(f.do("owner", "PUT", at(whole, "w"), `{"location":"westeurope"}`), 201, "")
	f.world.set(func() { f.world.gates = map[string]chan struct{}{"p": make(chan struct{}), "w": make(chan struct{})} })
	part := f.do("owner", "PUT", at(whole, "w")+"/pieces/p", `{}`)
	f.want(part, 201, "")
	f.want(f.do("owner", "DELETE", at(whole, "w"), ""), 409, "AnotherOperationInProgress")
	close(f.world.gates["p"])
	f.ended("owner", part)
	gone := f.do("owner", "DELETE", at(whole, "w"), "")
	f.want(gone, 202, "")
	f.want(f.do("owner", "PUT", at(whole, "w")+"/pieces/q", `{}`), 409, "AnotherOperationInProgress")
	d := f.do("owner", "PUT", deploymentAt("d"), orderText(templateText(`"resources":[`+thingText(whole+"/pieces", "w/q", "")+`]`), "{}"))
	f.want(d, 201, "")
	close(f.world.gates["w"])
	f.ended("owner", gone)
	f.ended("owner", d)
	if text := document.Text(f.do("owner", "GET", deploymentAt("d"), "").body); !strings.Contains(text, "ParentResourceNotFound") {
		t.Errorf("deployment %s", text)
	}
	if len(f.world.real) != 0 {
		t.Errorf("still real: %v", f.world.real)
	}
}

func TestAProviderThatPanicsBlocksNothing(t *testing.T) {
	f := newFixture(t)
	f.want(f.do("owner", "PUT", at(thing, "t"), `{"location":"westeurope","properties":{"panic":true}}`), 500, "InternalServerError")
	f.want(f.do("owner", "PUT", at(thing, "t"), `{"location":"westeurope"}`), 201, "")
}

// az sends the template as the text of its file, and times without quotes.
func TestRequestsAsAzSendsThem(t *testing.T) {
	f := newFixture(t)
	begun := f.do("owner", "PUT", deploymentAt("d"), `{"properties": {"parameters": {}, "mode": "Incremental", template:{ // from a file
		"$schema": "https://schema.management.azure.com/schemas/2019-04-01/deploymentTemplate.json#", /* its version */ "contentVersion": "1.0.0.0", "resources": []}
	}}`)
	f.want(begun, 201, "")
	if got := f.ended("owner", begun); got.body.String("status") != stateSucceeded {
		t.Errorf("ended %s", document.Text(got.body))
	}
	f.want(f.do("owner", "PUT", at(thing, "t"), `{location:"westeurope"}`), 400, "InvalidRequestContent")
	for _, form := range []string{"2006-01-02T15:04:05Z", "2006-01-02T15:04:05.000000", "2006-01-02T15:04:05.000000Z07:00"} {
		filter := strings.ReplaceAll("eventTimestamp ge "+f.now().AddDate(0, 0, -1).UTC().Format(form)+" and resourceGroupName eq 'g'", " ", "%20")
		got := f.do("owner", "GET", "/subscriptions/"+testSub+"/providers/Microsoft.Insights/eventtypes/management/values?api-version=2015-04-01&$filter="+filter, "")
		if got.status != 200 || len(got.body.Array("value")) == 0 {
			t.Errorf("%s: %d %s", filter, got.status, document.Text(got.body))
		}
	}
	f.want(f.do("owner", "PUT", at(thing, "t"), `{"location":"westeurope"}`), 201, "")
	list := f.do("owner", "GET", "/subscriptions/"+testSub+"/resources?api-version=2021-04-01&$filter=resourceGroup%20eq%20'g'&$expand=createdTime,changedTime,provisioningState", "")
	if one, _ := list.body.Array("value")[0].(*document.Object); one.String("provisioningState") != stateSucceeded || one.String("createdTime") == "" || one.String("changedTime") == "" {
		t.Errorf("list %s", document.Text(list.body))
	}
}

func TestTemplatesThatAreTooLarge(t *testing.T) {
	f := newFixture(t)
	many := func(n string) string {
		return thingText(thing, "[format('t{0}', copyIndex())]", `,"copy":{"name":"c","count":`+n+`}`)
	}
	for name, sections := range map[string]string{
		"a long loop":         `"resources":[` + many("801") + `]`,
		"two loops":           `"resources":[` + many("500") + `,` + strings.ReplaceAll(many("500"), "'t{", "'u{") + `]`,
		"too many parameters": `"parameters":{` + strings.TrimSuffix(strings.Repeat(`"p#":{"type":"int","defaultValue":1},`, 300), ",") + `},"resources":[]`,
	} {
		for i := 0; strings.Contains(sections, "#"); i++ {
			sections = strings.Replace(sections, "#", azure.NewGUID()[:8], 1)
		}
		for _, what := range []string{"PUT ", "POST /validate", "POST /whatIf"} {
			method, more, _ := strings.Cut(what, " ")
			got := f.do("owner", method, deploymentAt("d")+more, orderText(templateText(sections), "{}"))
			if got.status != 400 || got.code() != "InvalidTemplate" {
				t.Errorf("%s, %s: %d %q", name, what, got.status, got.code())
			}
		}
	}
	f.want(f.do("owner", "PUT", deploymentAt("d"), orderText(templateText(`"variables":{"v":"`+strings.Repeat("x", maxBodyBytes)+`"},"resources":[]`), "{}")), 413, "RequestEntityTooLarge")
}

// What an action has come to can be a secret: who may not do the action may not read it.
func TestResultsAreForThoseWhoMayDoTheAction(t *testing.T) {
	f := newFixture(t)
	f.want(f.do("owner", "PUT", at(thing, "t"), `{"location":"westeurope"}`), 201, "")
	begun := f.do("owner", "POST", at(thing, "t")+"/restart", `{"how":"hunter2"}`)
	f.ended("owner", begun)
	for _, header := range []string{"Azure-AsyncOperation", "Location"} {
		f.want(f.do("reader", "GET", strings.TrimPrefix(begun.header.Get(header), management), ""), 403, "AuthorizationFailed")
	}
	f.nowhere("hunter2")
}

// The whole of an outer template is evaluated before the nested deployment gets it, secrets and all.
func TestANestedTemplateShowsNoSecret(t *testing.T) {
	f := newFixture(t)
	f.run("d", orderText(templateText(`"parameters":{"secret":{"type":"securestring"}},"resources":[
		{"type":"Microsoft.Resources/deployments","apiVersion":"2021-04-01","name":"outer","properties":{"mode":"Incremental","template":`+
		templateText(`"resources":[`+thingText(thing, "t", `,"properties":{"password":"[parameters('secret')]"}`)+`]`)+`}}]`), `{"secret":{"value":"hunter2"}}`))
	f.want(f.do("owner", "GET", at(thing, "t"), ""), 200, "")
	f.want(f.do("owner", "POST", deploymentAt("outer")+"/exportTemplate", ""), 409, "TemplateNotAvailable")
	got := f.do("owner", "POST", deploymentAt("d")+"/exportTemplate", "")
	if text := document.Text(got.body); got.status != 200 || strings.Contains(text, "hunter2") {
		t.Errorf("%d %s", got.status, text)
	}
	f.nowhere("hunter2")
}
