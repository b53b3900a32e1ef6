package template

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/causeway-gateway/causeway/fabric/azure"
	"github.com/causeway-gateway/causeway/fabric/document"
)

func expand(t testing.TB, sections, parameters string) *Plan {
	t.Helper()
	p, err := Expand(request(t, sections, parameters))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// A fakeRun knows some resources by key.
type fakeRun map[string]string

func (r fakeRun) Reference(_ context.Context, ref Reference) (any, error) {
	text, ok := r[ref.ID.Key()]
	if !ok {
		return nil, azure.Errorf(404, "ResourceNotFound", "The Resource '%s' was not found.", ref.ID)
	}
	v, err := document.Parse([]byte(text))
	if err != nil || ref.Full {
		return v, err
	}
	return v.(*document.Object).Object("properties"), nil
}

func (r fakeRun) List(_ context.Context, l List) (any, error) {
	return document.NewObject("function", l.Function, "on", l.ID.FullName(), "version", l.APIVersion, "body", l.Body), nil
}

func describe(p *Plan) string {
	var b strings.Builder
	for _, r := range p.Resources {
		fmt.Fprintf(&b, "%s %s", r.Type, r.Name)
		if r.Skipped {
			b.WriteString(" skipped")
		}
		if r.Existing {
			b.WriteString(" existing")
		}
		for _, d := range r.DependsOn {
			b.WriteString(" <" + d.Name)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

const webTemplate = `{
	"parameters": {
		"prefix": {"type": "string", "minLength": 2, "maxLength": 5, "metadata": {"description": "x"}},
		"count": {"type": "int", "defaultValue": 2, "allowedValues": [1, 2, 3]},
		"secret": {"type": "securestring", "defaultValue": "[newGuid()]"},
		"vault": {"type": "bool", "defaultValue": false},
		"tags": {"type": "object", "defaultValue": {"owner": "[parameters('prefix')]"}}
	},
	"variables": {"vnet": "[concat(parameters('prefix'), '-vnet')]", "vnetId": "[resourceId('Microsoft.Network/virtualNetworks', variables('vnet'))]"},
	"resources": [
		{"type": "Microsoft.Network/virtualNetworks", "apiVersion": "2024-05-01", "name": "[variables('vnet')]", "location": "[resourceGroup().location]", "tags": "[parameters('tags')]",
			"properties": {"addressSpace": {"addressPrefixes": ["10.0.0.0/16"]}},
			"resources": [{"type": "subnets", "apiVersion": "2024-05-01", "name": "inner", "dependsOn": ["[variables('vnetId')]"], "properties": {"addressPrefix": "10.0.0.0/24"}}]},
		{"type": "Microsoft.Network/publicIPAddresses", "apiVersion": "2024-05-01", "name": "[format('{0}-ip{1}', parameters('prefix'), copyIndex(1))]",
			"copy": {"name": "ips", "count": "[parameters('count')]", "mode": "serial", "batchSize": 1}, "properties": {"dnsSettings": {"domainNameLabel": "[concat('l', copyIndex())]"}}},
		{"type": "Microsoft.Network/loadBalancers", "apiVersion": "2024-05-01", "name": "lb", "dependsOn": ["ips", "[concat('Microsoft.Network/virtualNetworks/', variables('vnet'))]", "kv"],
			"properties": {"copy": [{"name": "frontends", "count": 2, "input": {"name": "[concat('f', copyIndex('frontends'))]", "n": "[copyIndex('frontends', 5)]"}}],
				"address": "[reference(resourceId('Microsoft.Network/publicIPAddresses', format('{0}-ip1', parameters('prefix')))).ipAddress]", "literal": "[[not an expression]"}},
		{"type": "Microsoft.KeyVault/vaults", "apiVersion": "2024-11-01", "name": "kv", "condition": "[parameters('vault')]", "properties": {"password": "[parameters('secret')]"}},
		{"type": "Microsoft.Network/virtualNetworks/providers/locks", "apiVersion": "2020-05-01", "name": "[concat(variables('vnet'), '/Microsoft.Authorization/keep')]", "properties": {"level": "CanNotDelete"}},
		{"type": "Microsoft.Authorization/roleAssignments", "apiVersion": "2022-04-01", "name": "[guid('x')]", "scope": "[concat('Microsoft.Network/virtualNetworks/', variables('vnet'))]",
			"properties": {"principalId": "[reference('lb', '2024-05-01', 'full').identity.principalId]"}}
	],
	"outputs": {
		"address": {"type": "string", "value": "[reference('lb').address]"},
		"keys": {"type": "object", "value": "[listKeys(resourceId('A.B/c', 'd'), '2024-01-01', createObject('x', 1))]"},
		"secret": {"type": "securestring", "value": "[parameters('secret')]"},
		"none": {"type": "string", "condition": false, "value": "[reference('kv').x]"},
		"names": {"type": "array", "copy": {"count": 2, "input": "[concat('n', copyIndex())]"}}
	}
}`

func TestATemplateBecomesAPlan(t *testing.T) {
	p := expand(t, webTemplate, `{"prefix": {"value": "web"}}`)
	const want = `Microsoft.Network/virtualNetworks web-vnet
Microsoft.Network/virtualNetworks/subnets web-vnet/inner <web-vnet
Microsoft.Network/publicIPAddresses web-ip1
Microsoft.Network/publicIPAddresses web-ip2 <web-ip1
Microsoft.Network/loadBalancers lb <web-ip1 <web-ip2 <web-vnet
Microsoft.KeyVault/vaults kv skipped
Microsoft.Network/virtualNetworks/providers/locks web-vnet/Microsoft.Authorization/keep
Microsoft.Authorization/roleAssignments GUID <lb
`
	if got := strings.Replace(describe(p), nameGUID([]string{"x"}), "GUID", 1); got != want {
		t.Errorf("the plan is\n%s\nwant\n%s", got, want)
	}
	const vnet = "/subscriptions/sub/resourceGroups/rg/providers/Microsoft.Network/virtualNetworks/web-vnet"
	for i, id := range map[int]string{1: vnet + "/subnets/inner", 6: vnet + "/providers/Microsoft.Authorization/locks/keep",
		7: vnet + "/providers/Microsoft.Authorization/roleAssignments/" + nameGUID([]string{"x"})} {
		if got := p.Resources[i].ID.String(); got != id {
			t.Errorf("id %s, want %s", got, id)
		}
	}
	run := fakeRun{
		"/subscriptions/sub/resourcegroups/rg/providers/microsoft.network/publicipaddresses/web-ip1": `{"properties": {"ipAddress": "1.2.3.4"}}`,
		"/subscriptions/sub/resourcegroups/rg/providers/microsoft.network/loadbalancers/lb":          `{"identity": {"principalId": "p"}, "properties": {"address": "5.6.7.8"}}`,
	}
	for i, want := range map[int]string{
		0: `{"type":"Microsoft.Network/virtualNetworks","name":"web-vnet","apiVersion":"2024-05-01","location":"westeurope","tags":{"owner":"web"},"properties":{"addressSpace":{"addressPrefixes":["10.0.0.0/16"]}}}`,
		3: `{"type":"Microsoft.Network/publicIPAddresses","name":"web-ip2","apiVersion":"2024-05-01","properties":{"dnsSettings":{"domainNameLabel":"l1"}}}`,
		4: `{"type":"Microsoft.Network/loadBalancers","name":"lb","apiVersion":"2024-05-01","properties":{"frontends":[{"name":"f0","n":5},{"name":"f1","n":6}],"address":"1.2.3.4","literal":"[not an expression]"}}`,
		7: `{"type":"Microsoft.Authorization/roleAssignments","name":"` + nameGUID([]string{"x"}) + `","apiVersion":"2022-04-01","properties":{"principalId":"p"}}`,
	} {
		body, err := p.Resources[i].Body(t.Context(), run)
		if err != nil || document.Text(body) != want {
			t.Errorf("body %d: %v\n%s\nwant\n%s", i, err, document.Text(body), want)
		}
	}
	preview, err := p.Resources[4].Preview()
	if err != nil || !strings.HasPrefix(preview.String("properties", "address"), "[reference(") || preview.Array("properties", "frontends") == nil {
		t.Errorf("preview %s, %v", document.Text(preview), err)
	}
	out, err := p.Outputs(t.Context(), run)
	const outputs = `{"address":{"type":"String","value":"5.6.7.8"},"keys":{"type":"Object","value":{"function":"listKeys","on":"d","version":"2024-01-01","body":{"x":1}}},` +
		`"secret":{"type":"SecureString"},"names":{"type":"Array","value":["n0","n1"]}}`
	if err != nil || document.Text(out) != outputs {
		t.Errorf("outputs: %v\n%s\nwant\n%s", err, document.Text(out), outputs)
	}
	const parameters = `{"prefix":{"type":"String","value":"web"},"count":{"type":"Int","value":2},"secret":{"type":"SecureString"},"vault":{"type":"Bool","value":false},"tags":{"type":"Object","value":{"owner":"web"}}}`
	if got := document.Text(p.Parameters()); got != parameters {
		t.Errorf("parameters %s\nwant %s", got, parameters)
	}
	if p.Hash() != expand(t, webTemplate, `{"prefix": {"value": "other"}}`).Hash() {
		t.Error("the hash is not that of the template alone")
	}
	_, err = p.Resources[4].Body(t.Context(), fakeRun{})
	if e, ok := errors.AsType[*azure.Error](err); !ok || e.Code != "ResourceNotFound" {
		t.Errorf("a resource that is not there: %v", err)
	}
}

func TestSymbolicNames(t *testing.T) {
	p := expand(t, `{"languageVersion": "2.0", "resources": {
		"old": {"existing": true, "type": "A.B/c", "apiVersion": "1", "name": "o"},
		"many": {"type": "A.B/d", "apiVersion": "1", "name": "[format('m{0}', copyIndex())]", "copy": {"name": "many", "count": 2}, "dependsOn": ["old"]},
		"last": {"type": "A.B/e", "apiVersion": "1", "name": "l", "properties": {"one": "[reference('many[1]').x]", "all": "[map(references('many'), lambda('r', lambdaVariables('r').x))]", "old": "[reference('old').y]"}}
	}}`, `{}`)
	if got, want := describe(p), "A.B/c o existing\nA.B/d m0\nA.B/d m1\nA.B/e l <m1 <m0\n"; got != want {
		t.Errorf("%s\nwant\n%s", got, want)
	}
	const base = "/subscriptions/sub/resourcegroups/rg/providers/a.b/"
	body, err := p.Resources[3].Body(t.Context(), fakeRun{base + "d/m0": `{"properties":{"x":0}}`, base + "d/m1": `{"properties":{"x":1}}`, base + "c/o": `{"properties":{"y":2}}`})
	if err != nil || document.Text(body.Object("properties")) != `{"one":1,"all":[0,1],"old":2}` {
		t.Errorf("%s, %v", document.Text(body), err)
	}
}

func TestNestedDeploymentsEvaluateInsideOrOutside(t *testing.T) {
	nested := func(scope string) string {
		return `{"parameters": {"p": {"type": "string", "defaultValue": "outside"}}, "resources": [{"type": "Microsoft.Resources/deployments", "apiVersion": "2021-04-01", "name": "n", "resourceGroup": "other",
			"properties": {"mode": "Incremental", ` + scope + ` "parameters": {"p": {"value": "[parameters('p')]"}},
			"template": {"parameters": {"p": {"type": "string"}}, "resources": [], "outputs": {"o": {"type": "string", "value": "[parameters('p')]"}}}}}]}`
	}
	for scope, want := range map[string]string{``: "outside", `"expressionEvaluationOptions": {"scope": "Inner"},`: "[parameters('p')]"} {
		p := expand(t, nested(scope), `{}`)
		r := p.Resources[0]
		body, err := r.Body(t.Context(), fakeRun{})
		if err != nil || body.String("properties", "template", "outputs", "o", "value") != want || body.String("properties", "parameters", "p", "value") != "outside" {
			t.Errorf("scope %q: %s, %v", scope, document.Text(body), err)
		}
		if r.ID.ResourceGroup() != "other" {
			t.Errorf("it is deployed to %s", r.ID)
		}
	}
}

func TestSubscriptionScope(t *testing.T) {
	r := request(t, `{"resources": [{"type": "Microsoft.Resources/resourceGroups", "apiVersion": "2024-03-01", "name": "new", "location": "westeurope"},
		{"type": "Microsoft.Authorization/roleDefinitions", "apiVersion": "2022-04-01", "name": "r", "dependsOn": ["[subscriptionResourceId('Microsoft.Resources/resourceGroups', 'new')]", "new"]}]}`, `{}`)
	r.Scope = azure.SubscriptionID("sub")
	r.Template.Array("resources")[1].(*document.Object).Set("dependsOn", []any{"new"})
	p, err := Expand(r)
	if err != nil || p.Resources[0].ID.String() != "/subscriptions/sub/resourceGroups/new" || len(p.Resources[1].DependsOn) != 1 {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestTemplatesThatAreRefused(t *testing.T) {
	resource := func(rest string) string {
		return `{"resources": [{"type": "A.B/c", "apiVersion": "1", "name": "x"` + rest + `}]}`
	}
	for _, tt := range []struct{ name, sections, parameters, want string }{
		{"a section that is none", `{"resource": []}`, `{}`, "'resource' at the top of the template is not known"},
		{"a parameter without value", `{"parameters": {"p": {"type": "string"}}}`, `{}`, "value for the template parameter 'p' is not provided"},
		{"a parameter that is none", `{"parameters": {"p": {"type": "int", "defaultValue": 1}}}`, `{"q": {"value": 1}}`, "'q' in the parameters file are not valid"},
		{"a parameter of another type", `{"parameters": {"p": {"type": "int"}}}`, `{"p": {"value": "1"}}`, "an int is expected, and the value is string"},
		{"a value that is not allowed", `{"parameters": {"p": {"type": "string", "allowedValues": ["a"]}}}`, `{"p": {"value": "b"}}`, "'b' is none of the allowed values"},
		{"a number out of bounds", `{"parameters": {"p": {"type": "int", "maxValue": 5}}}`, `{"p": {"value": 6}}`, "5 or less"},
		{"a string too short", `{"parameters": {"p": {"type": "string", "minLength": 3}}}`, `{"p": {"value": "ab"}}`, "3 or more"},
		{"a type that is none", `{"parameters": {"p": {"type": "number"}}}`, `{}`, "which is none"},
		{"defaults in a circle", `{"parameters": {"a": {"type": "string", "defaultValue": "[parameters('b')]"}, "b": {"type": "string", "defaultValue": "[parameters('a')]"}}}`, `{}`, "depends on itself"},
		{"variables in a circle", `{"variables": {"a": "[variables('b')]", "b": "[variables('a')]"}}`, `{}`, "depends on itself"},
		{"reference in a variable", `{"variables": {"a": "[reference('x').y]"}}`, `{}`, "'reference' is not expected at this location"},
		{"reference in a name", `{"resources": [{"type": "A.B/c", "apiVersion": "1", "name": "[reference('x').y]"}]}`, `{}`, "'reference' is not expected"},
		{"reference in a condition", resource(`, "condition": "[reference('x').y]"`), `{}`, "'reference' is not expected"},
		{"an unknown function", resource(`, "properties": {"a": [{"b": "[nothing()]"}]}`), `{}`, "resources[0]': for resource 'A.B/c/x': at 'properties.a[0].b': the template function 'nothing' is not valid"},
		{"no type", `{"resources": [{"apiVersion": "1", "name": "x"}]}`, `{}`, "has no type"},
		{"no version", `{"resources": [{"type": "A.B/c", "name": "x"}]}`, `{}`, "has no apiVersion"},
		{"parts that do not match", `{"resources": [{"type": "A.B/c/d", "apiVersion": "1", "name": "x"}]}`, `{}`, "not as many parts"},
		{"a name that leads elsewhere", `{"resources": [{"type": "A.B/c", "apiVersion": "1", "name": ".."}]}`, `{}`, "a segment is"},
		{"twice the same", `{"resources": [{"type": "A.B/c", "apiVersion": "1", "name": "x"}, {"type": "a.b/C", "apiVersion": "1", "name": "X"}]}`, `{}`, "defined multiple times"},
		{"a dependency that is none", resource(`, "dependsOn": ["nobody"]`), `{}`, "The resource 'nobody' is not defined in the template"},
		{"a circle", `{"resources": [{"type": "A.B/c", "apiVersion": "1", "name": "x", "dependsOn": ["y"]}, {"type": "A.B/c", "apiVersion": "1", "name": "y", "properties": "[reference('x')]"}]}`, `{}`, "Circular dependency detected"},
		{"an ambiguous dependency", `{"resources": [{"type": "A.B/c", "apiVersion": "1", "name": "x"}, {"type": "A.B/d", "apiVersion": "1", "name": "x"}, {"type": "A.B/e", "apiVersion": "1", "name": "z", "dependsOn": ["x"]}]}`, `{}`, "ambiguous"},
		{"too many rounds", resource(`, "copy": {"name": "l", "count": 801}`), `{}`, "0 to 800 are allowed"},
		{"too many resources", `{"resources": [{"type": "A.B/c", "apiVersion": "1", "name": "[concat('x', copyIndex())]", "copy": {"name": "l", "count": 800}}, {"type": "A.B/d", "apiVersion": "1", "name": "y"}]}`, `{}`, "more than 800"},
		{"copyIndex outside", resource(`, "properties": "[copyIndex()]"`), `{}`, "stands in no loop"},
		{"a loop without input", resource(`, "properties": {"copy": [{"name": "a", "count": 1}]}`), `{}`, "has no input"},
		{"an unknown definition", `{"parameters": {"p": {"$ref": "#/definitions/none"}}}`, `{}`, "which is not defined"},
		{"a bare value", `{"parameters": {"p": {"type": "string"}}}`, `{"p": "x"}`, "stands in a property 'value'"},
	} {
		_, err := Expand(request(t, tt.sections, tt.parameters))
		e, ok := errors.AsType[*azure.Error](err)
		if !ok || e.Code != "InvalidTemplate" || e.Status != 400 || !strings.Contains(e.Message, tt.want) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
	}
	r := request(t, `{}`, `{}`)
	r.Template.Set("$schema", "https://example.com/other.json")
	if _, err := Expand(r); err == nil {
		t.Error("another schema is taken")
	}
}

// A few lines can ask for more than a machine has.
func TestTemplatesThatGrowWithoutBoundAreRefused(t *testing.T) {
	double := `"v0": "0123456789abcdef"`
	for i := range 60 {
		double += fmt.Sprintf(`, "v%d": "[concat(variables('v%d'), variables('v%d'))]"`, i+1, i, i)
	}
	array := strings.Replace(double, `"0123456789abcdef"`, `[1, 2, 3, 4]`, 1)
	big := `"big": "[padLeft('', 131072, 'x')]"`
	for name, variables := range map[string]string{
		"strings that double":     double,
		"arrays that double":      array,
		"loops within loops":      `"copy": [{"name": "a", "count": 800, "input": {"copy": [{"name": "b", "count": 800, "input": {"copy": [{"name": "c", "count": 800, "input": 1}]}}]}}]`,
		"maps within maps":        `"a": "[map(range(0, 10000), lambda('x', map(range(0, 10000), lambda('y', lambdaVariables('y')))))]"`,
		"large values in a map":   big + `, "a": "[length(map(range(0, 10000), lambda('x', concat(variables('big'), lambdaVariables('x')))))]"`,
		"a string in an array":    big + `, "a": "[string(map(range(0, 10000), lambda('x', variables('big'))))]"`,
		"replacing":               big + `, "a": "[replace(variables('big'), 'x', variables('big'))]"`,
		"joining":                 big + `, "a": "[join(range(0, 10000), variables('big'))]"`,
		"formatting":              big + `, "a": "[format('` + strings.Repeat("{0}", 1000) + `', variables('big'))]"`,
		"doubling within objects": `"a": {"x": 1}` + doubledObjects(),
	} {
		_, err := Expand(request(t, `{"variables": {`+variables+`}}`, `{}`))
		e, ok := errors.AsType[*azure.Error](err)
		if !ok || e.Code != "InvalidTemplate" || !strings.Contains(e.Message, "bytes") && !strings.Contains(e.Message, "too much") {
			t.Errorf("%s: %.200v", name, err)
		}
	}
}

func doubledObjects() (text string) {
	for i := range 40 {
		before := "a"
		if i > 0 {
			before = fmt.Sprintf("o%d", i-1)
		}
		text += fmt.Sprintf(`, "o%d": {"l": "[variables('%s')]", "r": "[variables('%s')]"}`, i, before, before)
	}
	return text
}

// A secret does not stand in what is told of it.
func TestErrorsDoNotTellSecrets(t *testing.T) {
	_, err := Expand(request(t, `{"parameters": {"p": {"type": "securestring", "allowedValues": ["geheim1"]}}}`, `{"p": {"value": "geheim2"}}`))
	if err == nil || strings.Contains(err.Error(), "geheim") {
		t.Errorf("the error is %v", err)
	}
}

func TestReferencesToWhatIsElsewhereWantAVersion(t *testing.T) {
	p := expand(t, `{"outputs": {"a": {"type": "object", "value": "[reference(resourceId('A.B/c', 'd'))]"}, "b": {"type": "object", "value": "[reference('e')]"}}}`, `{}`)
	if _, err := p.Outputs(t.Context(), fakeRun{}); err == nil || !strings.Contains(err.Error(), "wants an API version") {
		t.Errorf("Outputs = %v", err)
	}
}

func FuzzExpand(f *testing.F) {
	f.Add(webTemplate)
	f.Add(`{"resources": {"a": {"type": "A.B/c", "apiVersion": "1", "name": "x", "copy": {"name": "l", "count": 3, "mode": "serial"}}}}`)
	f.Fuzz(func(t *testing.T, text string) {
		v, err := document.ParseLenient([]byte(text))
		o, ok := v.(*document.Object)
		if err != nil || !ok {
			return
		}
		r := request(t, `{}`, `{"prefix": {"value": "web"}}`)
		for name, v := range o.All() {
			r.Template.Set(name, v)
		}
		p, err := Expand(r)
		if err != nil {
			return
		}
		for _, r := range p.Resources {
			_, _ = r.Body(t.Context(), fakeRun{})
		}
	})
}
