// Every pixel of the image: the background and, where there are parts, their samples shaded before it.
uniform sampler2D base_texture;      // square roots of linear RGB, as everything that is stored in 8 bits
uniform vec2 image_size;
uniform vec3 tint;
#ifndef LIT
uniform float mirror;                // -1: the pattern is mirrored
#endif
#ifdef SHADOW
uniform sampler2DShadow shadow_map;
#endif
#ifdef THINGS
uniform usampler2DMS surfaces;
uniform sampler2D materials;         // a row a part: colour and roughness; hue, saturation, value and metallic
#endif
#ifdef LIT
in vec2 pattern_at;                  // where in the maps of the ground
in vec2 shade_at;
in vec2 occlusion_at;
noperspective in vec2 key_light;
noperspective in vec3 other_diffuse;
noperspective in vec3 other_specular;
#endif

out vec4 color;

vec3 encoded(vec3 light) {
    return sqrt(min(light, 1.0));
}

vec3 decoded(vec3 root) {
    return root * root;
}

#ifdef SHADOW
const float MAX_SLOPE = 6.0;         // of a surface in the shadow map, depth over width
const float BUMP = 0.006;            // depth in it by which surfaces with bumps may shade themselves

// Share of the key light that arrives: bilinear comparisons at 3 x 3 neighbours, folded into four reads, each
// against the depth that the surface's plane has there; bump: how far that may differ.
float key_arrives(vec3 position, vec3 n, float bump) {
    vec3 at = (shadow_from_world * vec4(position, 1.0)).xyz;
    vec3 facing = mat3(shadow_from_world) * n;
    vec2 slope = clamp(-facing.xy / min(facing.z, -1e-6), -MAX_SLOPE, MAX_SLOPE);
    vec2 size = vec2(textureSize(shadow_map, 0));
    vec2 texel = at.xy * size - 0.5;
    vec2 f = fract(texel);
    vec2 first = texel - f + 0.5;
    vec2 low = (first - 1.0 + 1.0 / (2.0 - f)) / size, high = (first + 1.0 + f / (1.0 + f)) / size;
    vec2 weight = (2.0 - f) / 3.0;
    float steep = 1.0 - clamp(dot(n, key_direction), 0.0, 1.0);
    at.z -= bump + max(0.002 * steep, 0.0002) + 0.5 * (abs(slope.x) + abs(slope.y)) / size.x;
    vec2 lower = (low - at.xy) * slope, higher = (high - at.xy) * slope;
    vec4 depth = min(at.z + vec4(lower.x, higher.x, lower.x, higher.x) + vec4(lower.yy, higher.yy), 1.0);
    float below = mix(texture(shadow_map, vec3(high.x, low.y, depth.y)),
                      texture(shadow_map, vec3(low, depth.x)), weight.x);
    float above = mix(texture(shadow_map, vec3(high, depth.w)),
                      texture(shadow_map, vec3(low.x, high.y, depth.z)), weight.x);
    return mix(above, below, weight.y);
}
#endif

#if defined(SHADOW) && defined(LIT)
uniform sampler2D shade;             // share of the key light kept from the ground; the levels are ever softer
uniform sampler2D penumbra;          // the level to look at
uniform sampler2D occlusion;         // share of the other light kept from the ground
const float SOFTEST = 5.0;

float key_on_ground() {
    return 1.0 - textureLod(shade, shade_at, SOFTEST * texture(penumbra, shade_at).r).r;
}
#endif

#ifdef THINGS
// Hue turned by change.x; saturation and value multiplied by change.y and change.z.
vec3 varied(vec3 rgb, vec3 change) {
    float value = max(rgb.r, max(rgb.g, rgb.b));
    float chroma = value - min(rgb.r, min(rgb.g, rgb.b));
    float inverse = 1.0 / max(chroma, 1e-6);
    float sextant = rgb.r == value ? (rgb.g - rgb.b) * inverse
                  : rgb.g == value ? (rgb.b - rgb.r) * inverse + 2.0
                                   : (rgb.r - rgb.g) * inverse + 4.0;
    float saturation = min(chroma / max(value, 1e-6) * change.y, 1.0);
    vec3 wheel = abs(fract(sextant / 6.0 + change.x + vec3(0.0, 2.0, 1.0) / 3.0) * 6.0 - 3.0);
    return min(value * change.z, 1.0) * mix(vec3(1.0), clamp(wheel - 1.0, 0.0, 1.0), saturation);
}

vec3 unfolded(vec2 at) {
    vec3 n = vec3(at, 1.0 - abs(at.x) - abs(at.y));
    float below = max(-n.z, 0.0);
    return normalize(n + vec3(n.x < 0.0 ? below : -below, n.y < 0.0 ? below : -below, 0.0));
}

vec3 shaded(uvec4 surface, vec3 ray) {
    int part = int(surface.w & 0xffffu) - 1;
    vec4 first = texelFetch(materials, ivec2(0, part), 0);
    vec4 second = texelFetch(materials, ivec2(1, part), 0);
    vec2 gloss = unpackUnorm4x8(surface.w).zw;
    float roughness = max(first.a * gloss.x, 0.04), metallic = second.a * gloss.y;
    vec4 color = unpackUnorm4x8(surface.z);
    vec3 base = first.rgb * decoded(varied(color.rgb, second.rgb));
    vec3 position = eye + ray * uintBitsToFloat(surface.x);
    vec3 n = unfolded(unpackSnorm2x16(surface.y));
    vec3 v = normalize(eye - position);
    vec3 diffuse = base * ((1.0 - DIELECTRIC) * (1.0 - metallic));
    vec3 f0 = mix(vec3(DIELECTRIC), base, metallic);
    vec3 r = response(n, v, key_direction, roughness);
    vec3 F = f0 + (1.0 - f0) * r.z;
    bool bumpy = color.a < 0.5;
    float arrives = key_arrives(position, bumpy ? key_direction : n, bumpy ? BUMP : 0.0);
    vec3 light = ((1.0 - F) * diffuse * r.x + F * r.y) * key_radiance * arrives;
    for (int i = 0; i < FILLS; i++) {
        vec3 towards = fill_position[i].xyz - position;
        r = response(n, v, normalize(towards), roughness);
        F = f0 + (1.0 - f0) * r.z;
        light += ((1.0 - F) * diffuse * r.x + F * r.y) * fill_radiance[i].rgb / dot(towards, towards);
    }
    vec2 weight = reflectance(clamp(dot(n, v), 0.0, 1.0), roughness);
    vec3 other = diffuse * surrounding(n);
    other += (f0 * weight.x + weight.y) * reflected(reflect(-v, n), roughness);
#ifdef LIT
    float low = clamp(1.0 - position.z / things_height, 0.0, 1.0);
    other *= 1.0 - low * texture(occlusion, in_occlusion(position.xy + 0.5 * things_height * n.xy)).r;
#endif
    return light + other;
}

const float ALIKE = 0.02;            // of colours and normals, each number from 0 or -1 to 1; of depths, a share

// Whether two samples can be shaded as one: neighbouring faces of one smooth surface.
bool alike(uvec4 a, uvec4 b) {
    vec4 colors = abs(unpackUnorm4x8(a.z) - unpackUnorm4x8(b.z));
    vec2 normals = abs(unpackSnorm2x16(a.y) - unpackSnorm2x16(b.y));
    float near = uintBitsToFloat(a.x), far = uintBitsToFloat(b.x);
    return a.w == b.w && all(lessThan(vec4(normals, abs(near - far) / near, 0.0), vec4(ALIKE)))
        && all(lessThan(colors, vec4(ALIKE)));
}

// Colour of the pixel's samples that show parts, and their share; samples that are alike are shaded once.
vec4 things(vec3 ray) {
    ivec2 at = ivec2(gl_FragCoord.xy);
    uvec4 a = texelFetch(surfaces, at, 0), b = texelFetch(surfaces, at, 1);
    uvec4 c = texelFetch(surfaces, at, 2), d = texelFetch(surfaces, at, 3);
    bvec4 open = notEqual(uvec4(a.w, b.w, c.w, d.w), uvec4(0u));
    vec4 sum = vec4(0.0);
    do {
        uvec4 one = open.x ? a : open.y ? b : open.z ? c : d;
        bvec4 same = bvec4(open.x && alike(one, a), open.y && alike(one, b),
                           open.z && alike(one, c), open.w && alike(one, d));
        float share = one.w == 0u ? 0.0 : dot(vec4(same), vec4(0.25));
        sum += share * vec4(encoded(shaded(one, ray)), 1.0);
        open = bvec4(open.x && !same.x, open.y && !same.y, open.z && !same.z, open.w && !same.w);
    } while (any(open));
    return sum;
}
#endif

void main() {
#if defined(PHOTO)
    vec3 light = decoded(texelFetch(base_texture, ivec2(gl_FragCoord.xy), 0).rgb);
#elif defined(LIT)
    vec3 light = tint * decoded(texture(base_texture, pattern_at).rgb);
#else
    vec3 light = tint * decoded(texture(base_texture, vec2(mirror, 1.0) * gl_FragCoord.xy / image_size).rgb);
#endif
#ifdef LIT
#ifdef SHADOW
    vec3 key = key_radiance * key_on_ground();
    float open = 1.0 - texture(occlusion, occlusion_at).r;
    light = light * (open * other_diffuse + key * key_light.x) + open * other_specular + key * key_light.y;
#else
    light = light * other_diffuse + other_specular;
#endif
#endif
    color = vec4(encoded(light), 1.0);
#ifdef THINGS
    vec4 before = things((ray_from_pixel * vec4(gl_FragCoord.xy, 1.0, 0.0)).xyz);
    color = vec4(before.rgb + (1.0 - before.a) * color.rgb, 1.0);
#endif
}
