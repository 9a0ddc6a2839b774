// What image.frag shades: depth in metres, normal on the octahedron, texture, number of the part from 1.
uniform uint part;
#ifdef TEXTURED
uniform sampler2D base_texture;
#endif

in vec3 normal;
in vec2 uv;

out uvec4 texel;

void main() {
    vec3 n = normal / (abs(normal.x) + abs(normal.y) + abs(normal.z));
    vec2 folded = (1.0 - abs(n.yx)) * vec2(n.x < 0.0 ? -1.0 : 1.0, n.y < 0.0 ? -1.0 : 1.0);
    texel.x = floatBitsToUint(1.0 / gl_FragCoord.w);
    texel.y = packSnorm2x16(n.z < 0.0 ? folded : n.xy);
#ifdef TEXTURED
    texel.z = packUnorm4x8(texture(base_texture, uv));
#else
    texel.z = 0xffffffffu;
#endif
    texel.w = part;
}
