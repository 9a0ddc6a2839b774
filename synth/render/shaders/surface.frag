// What compose.frag shades: depth in metres; normal on the octahedron; base colour and whether the normal is that of
// the surface's shape; and, packed into one number, the part's number from 1 and the factors of its roughness and
// metallic.
uniform uint part;
#ifdef TEXTURED
uniform sampler2D base_texture;
#endif
#ifdef BUMPY
uniform sampler2D normal_texture;

in vec3 position;
#endif
#ifdef GLOSSY
uniform sampler2D gloss_texture;
#endif
#ifdef COLORED
in vec3 vertex_color;
#endif

in vec3 normal;
in vec2 uv;

out uvec4 texel;

#ifdef BUMPY
// The normal that the texture bends, its tangent found from how position and texture change over the pixel.
vec3 bent(vec3 n) {
    vec3 px = dFdx(position), py = dFdy(position);
    vec2 tx = dFdx(uv), ty = dFdy(uv);
    vec3 t = (px * ty.y - py * tx.y) * sign(tx.x * ty.y - ty.x * tx.y);
    vec3 b = (px * ty.x - py * tx.x) * sign(tx.x * ty.y - ty.x * tx.y);
    t -= n * dot(n, t);
    b -= n * dot(n, b);
    vec3 bend = 2.0 * texture(normal_texture, uv).xyz - 1.0;
    return bend.x * t * inversesqrt(max(dot(t, t), 1e-30)) + bend.y * b * inversesqrt(max(dot(b, b), 1e-30)) + bend.z * n;
}
#endif

void main() {
    vec3 n = gl_FrontFacing ? normal : -normal;
#ifdef BUMPY
    n = bent(normalize(n));
#endif
    n /= abs(n.x) + abs(n.y) + abs(n.z);
    vec2 folded = (1.0 - abs(n.yx)) * vec2(n.x < 0.0 ? -1.0 : 1.0, n.y < 0.0 ? -1.0 : 1.0);
    texel.x = floatBitsToUint(1.0 / gl_FragCoord.w);
    texel.y = packSnorm2x16(n.z < 0.0 ? folded : n.xy);
    vec4 color = vec4(1.0);
#ifdef TEXTURED
    color = texture(base_texture, uv);
#endif
#ifdef COLORED
    color.rgb *= vertex_color;
#endif
#ifdef BUMPY
    color.a = 0.0;
#endif
    texel.z = packUnorm4x8(color);
    vec2 gloss = vec2(1.0);
#ifdef GLOSSY
    gloss = texture(gloss_texture, uv).gb;
#endif
    texel.w = part | packUnorm4x8(vec4(0.0, 0.0, gloss)) & 0xffff0000u;
}
